"""Labels frame by frame, from sliding windows: when does the expression change, and when did we say so."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput, NoFaceFound
from dfer_edge.labels import canonical
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Faces, Observation

# Half a second, moved by about one frame at 30 a second: changes are seen within a quarter of a second.
WINDOW_S, HOP_S = 0.5, 1 / 30


@dataclasses.dataclass(frozen=True)
class Run:
    """Frames ``first`` to ``last``, both included, that have one label."""

    label: str
    first: int
    last: int


def frame_labels(
    recognizer: Recognizer, source: Any, window_s: float = WINDOW_S, hop_s: float = HOP_S, faces: Faces = "detect"
) -> list[str]:
    """The label of every frame of the person seen in most windows.

    A window speaks for the frame at its centre; every frame takes the label of the window whose centre is nearest.

    Raises
    ------
    NoFaceFound
        If no window has a face.
    InvalidInput
        As in :meth:`dfer_edge.Recognizer.stream`.
    """
    times = [frame.clock_s for frame in open_source(source)]
    people: dict[int, list[Observation]] = defaultdict(list)
    for observation in recognizer.stream(source, faces, window_s, hop_s, smoothing="off", no_face=False):
        people[observation.track_id].append(observation)
    if not people:
        raise NoFaceFound(f"no face in any of the {len(times)} frames")
    own = max(people.values(), key=len)
    centres = np.array([(observation.start_s + observation.time_s) / 2 for observation in own])
    nearest = np.abs(np.array(times)[:, None] - centres).argmin(1)
    return [own[index].prediction.label for index in nearest]


def label_runs(labels: Sequence[str]) -> list[Run]:
    """First and last frame of each stretch with one label, in order."""
    runs: list[Run] = []
    for index, label in enumerate(labels):
        if runs and runs[-1].label == label:
            runs[-1] = dataclasses.replace(runs[-1], last=index)
        else:
            runs.append(Run(label, index, index))
    return runs


def wrong_frames(labels: Sequence[str], expected: Sequence[Run], tolerance: int = 8) -> list[int]:
    """Frames whose label is not the expected one, further than ``tolerance`` frames from a change.

    A change is the begin or end of an expected run inside the video: its first ``tolerance`` frames are forgiven, and
    its last ones, but not those at the begin or end of the video. Spellings are matched.

    Raises
    ------
    InvalidInput
        If an expected run leaves the video, or is too short to leave a frame to check.
    """
    wrong = []
    for run in expected:
        if not 0 <= run.first <= run.last < len(labels):
            raise InvalidInput(f"expected runs within {len(labels)} frames, got {run.first} to {run.last}")
        first = run.first + (tolerance if run.first > 0 else 0)
        last = run.last - (tolerance if run.last < len(labels) - 1 else 0)
        if first > last:
            raise InvalidInput(f"expected runs longer than the tolerance, got {run.first} to {run.last}, {tolerance}")
        wrong += [index for index in range(first, last + 1) if canonical(labels[index]) != canonical(run.label)]
    return wrong


def check(
    recognizer: Recognizer,
    source: Any,
    expected: Sequence[Run],
    tolerance: int = 8,
    window_s: float = WINDOW_S,
    hop_s: float = HOP_S,
) -> dict[str, Any]:
    """Runs of a video and whether they are as expected, JSON-safe; see :func:`wrong_frames`."""
    labels = frame_labels(recognizer, source, window_s, hop_s)
    wrong = wrong_frames(labels, expected, tolerance)
    info = recognizer.info()
    return {
        "source": getattr(source, "name", None) or str(source).rsplit("/", 1)[-1],
        "column": f"{info['engine']}/{info['precision']}",
        "window_s": window_s,
        "hop_s": hop_s,
        "tolerance_frames": tolerance,
        "frames": len(labels),
        "runs": [dataclasses.asdict(run) for run in label_runs(labels)],
        "expected": [dataclasses.asdict(run) for run in expected],
        "wrong_frames": wrong,
        "as_expected": not wrong,
    }


def parse_run(text: str) -> Run:
    """``"happy:22-69"`` as a run.

    Raises
    ------
    InvalidInput
        For any other text.
    """
    label, _, span = text.partition(":")
    first, dash, last = span.partition("-")
    if not (label and dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise InvalidInput(f"expected LABEL:FIRST-LAST, e.g. happy:22-69; got {text!r}")
    return Run(label, int(first), int(last))
