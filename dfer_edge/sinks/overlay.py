"""The source with everyone's box, label and bars drawn in, as an MP4."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dfer_edge.sinks.drawing import Figure, draw
from dfer_edge.sinks.video import VideoSink
from dfer_edge.sources.opening import open_source
from dfer_edge.types import NOMINAL_RATE, Box, Observation, Timeline


def write_overlay(
    path: str | Path,
    source: Any,
    timeline: Timeline,
    note: str = "",
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Decode ``source`` once more and write it with everyone's box, label and bars.

    Parameters
    ----------
    path
        Of the MP4. A variable frame rate becomes its mean.
    source
        The one that ``timeline`` was made from.
    note
        A line at the bottom of every frame.
    progress
        Called with frames done and frames in all.

    Raises
    ------
    DferError
        If the video cannot be written.
    """
    rate = (timeline.frame_count - 1) / timeline.duration_s if timeline.duration_s > 0 else NOMINAL_RATE
    boxes: dict[int, list[tuple[int, Box]]] = defaultdict(list)
    for track in timeline.tracks:
        for index, edges in zip(track.frame_indices.tolist(), track.boxes.tolist(), strict=True):
            boxes[index].append((track.track_id, Box(*edges)))
    captions = Captions(timeline)
    with VideoSink(path, rate) as sink:
        for frame in open_source(source):
            figures = [
                Figure(track_id, box, said.prediction if (said := captions.at(track_id, frame.clock_s)) else None)
                for track_id, box in boxes[frame.index]
            ]
            sink.write(draw(frame.image, figures, frame.clock_s, note))
            if progress:
                progress(frame.index + 1, timeline.frame_count)


class Captions:
    """Who expresses what at a time: the observations of a timeline by person, in order."""

    def __init__(self, timeline: Timeline) -> None:
        self._own: dict[int, list[Observation]] = defaultdict(list)
        for observation in timeline.observations:
            self._own[observation.track_id].append(observation)

    def at(self, track_id: int, time_s: float) -> Observation | None:
        """The person's window that ends first at or after ``time_s``, else the last; None if there is none."""
        own = self._own.get(track_id, [])
        position = bisect.bisect_left(own, time_s, key=lambda observation: observation.time_s)
        return own[min(position, len(own) - 1)] if own else None
