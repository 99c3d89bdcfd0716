"""The source with boxes, labels and a bar per class drawn in, as an MP4."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfer_edge.sinks.video import VideoSink
from dfer_edge.sources import open_source
from dfer_edge.types import NOMINAL_RATE, Box, Image, Observation, Timeline

_WHITE, _GREY, _ACCENT, _OTHER = (255, 255, 255), (90, 90, 90), (80, 200, 255), (170, 170, 170)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_READABLE_HEIGHT = 360
# Width of the bars beside the picture, in 360ths of its height.
_PANEL = 160


def write_overlay(
    path: str | Path,
    source: Any,
    timeline: Timeline,
    note: str = "",
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Decode ``source`` once more and write it with everyone's box, label and the primary person's bars.

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
            sink.write(draw(frame.image, boxes[frame.index], captions, frame.clock_s, note))
            if progress:
                progress(frame.index + 1, timeline.frame_count)


def draw(image: Image, boxes: list[tuple[int, Box]], captions: Captions, time_s: float, note: str = "") -> Image:
    """A copy of an RGB frame with boxes and labels, bars beside it, the note below; small frames are enlarged."""
    enlarge = _enlargement(image)
    canvas = np.asarray(cv2.resize(image, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC), np.uint8)
    unit, width = canvas.shape[0] / 360, canvas.shape[1]
    # Bars stand beside the picture: over it they hide faces.
    canvas = np.asarray(cv2.copyMakeBorder(canvas, 0, 0, 0, round(_PANEL * unit), cv2.BORDER_CONSTANT), np.uint8)
    for track_id, found in boxes:
        box = Box(*(edge * enlarge for edge in found))
        current = captions.at(track_id, time_s)
        primary = track_id == captions.primary_track
        _draw_box(canvas, box, current, _ACCENT if primary else _OTHER, unit)
        if primary and current is not None:
            _draw_bars(canvas, current, unit, width + round(8 * unit))
    if note:
        _text(canvas, note, (int(8 * unit), canvas.shape[0] - int(8 * unit)), unit, _WHITE)
    return canvas


def _enlargement(image: Image) -> int:
    # Text on a thumbnail cannot be read: small frames are written at a multiple of their size.
    return max(1, -(-_READABLE_HEIGHT // len(image)))


class Captions:
    """Who expresses what at a time: the observations of a timeline by person, in order."""

    def __init__(self, timeline: Timeline) -> None:
        self.primary_track = timeline.primary_track
        self._own: dict[int, list[Observation]] = defaultdict(list)
        for observation in timeline.observations:
            self._own[observation.track_id].append(observation)

    def at(self, track_id: int, time_s: float) -> Observation | None:
        """The person's window that ends first at or after ``time_s``, else the last; None if there is none."""
        own = self._own.get(track_id, [])
        position = bisect.bisect_left(own, time_s, key=lambda observation: observation.time_s)
        return own[min(position, len(own) - 1)] if own else None


def _draw_box(canvas: Image, box: Box, current: Observation | None, colour: tuple[int, int, int], unit: float) -> None:
    left, top, right, bottom = (round(edge) for edge in box)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, max(1, round(2 * unit)))
    if current is not None:
        text = f"#{current.track_id} {current.prediction.label} {current.prediction.confidence:.2f}"
        _text(canvas, text, (max(left, 0), max(top - int(6 * unit), int(14 * unit))), unit, colour)


def _draw_bars(canvas: Image, current: Observation, unit: float, left: int) -> None:
    row, longest, begin = round(22 * unit), round(72 * unit), left + round(66 * unit)
    for number, (label, score) in enumerate(current.prediction.scores.items()):
        y = round(12 * unit) + number * row
        colour = _ACCENT if label == current.prediction.label else _WHITE
        _text(canvas, label, (left, y + round(11 * unit)), unit * 0.9, colour)
        bottom = y + round(12 * unit)
        cv2.rectangle(canvas, (begin, y), (begin + longest, bottom), _GREY, -1)
        cv2.rectangle(canvas, (begin, y), (begin + round(longest * score), bottom), colour, -1)


def _text(canvas: Image, text: str, at: tuple[int, int], unit: float, colour: tuple[int, int, int]) -> None:
    scale = 0.42 * unit
    cv2.putText(canvas, text, at, _FONT, scale, (0, 0, 0), max(2, round(3 * unit)), cv2.LINE_AA)
    cv2.putText(canvas, text, at, _FONT, scale, colour, max(1, round(unit)), cv2.LINE_AA)
