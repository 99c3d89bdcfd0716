"""Tracking: identities by overlap, with the detector run on key frames only.

Between two key frames whose faces agree one to one, boxes are interpolated; where they do not agree, the frame
halfway becomes a key frame too, down to neighbours. A face that comes or goes is so found on the exact frame, and a
calm scene costs one detection every ``stride`` frames. Matching is greedy by overlap: with the handful of faces of a
frame it finds what an optimal assignment finds, without another dependency.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Sequence

from dfer_edge.faces.detectors import Detector
from dfer_edge.types import Box, Detection, Frame, TrackedFace

Faces = tuple[TrackedFace, ...]

# Two key frames agree if every face overlaps its partner by this much: interpolation is then within a few pixels.
_AGREE_IOU = 0.6
# A face belongs to a track if it overlaps the track's last box by this much.
_MATCH_IOU = 0.2
# Raw frames wait for the next key frame: bounds their memory at 8K too.
_PENDING_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class _KeyFrame:
    detections: list[Detection]
    faces: Faces


@dataclasses.dataclass
class _Live:
    track_id: int
    box: Box
    frame_index: int


class FaceTracker:
    """Gives each frame its faces, with identities that last over gaps.

    Parameters
    ----------
    detector
        Run on key frames.
    stride
        Frames between key frames in a calm scene; 1 detects on every frame.
    max_gap
        Frames after which a lost identity is forgotten.
    """

    def __init__(self, detector: Detector, stride: int = 8, max_gap: int = 30) -> None:
        self._detector, self._stride, self._max_gap = detector, stride, max_gap
        self._live: list[_Live] = []
        self._next_id = 0

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Faces]]:
        """Every frame with its faces, in order; lags up to ``stride`` frames behind."""
        pending: list[Frame] = []
        key: _KeyFrame | None = None
        for frame in frames:
            if key is None:
                detections = self._detector.detect(frame.image)
                key = _KeyFrame(detections, self._identify(frame.index, detections))
                yield frame, key.faces
                continue
            pending.append(frame)
            if len(pending) >= self._stride or frame.image.nbytes * len(pending) >= _PENDING_BYTES:
                key = yield from self._settle(pending, key)
                pending = []
        if pending and key is not None:
            yield from self._settle(pending, key)

    def _settle(self, pending: Sequence[Frame], key: _KeyFrame) -> Generator[tuple[Frame, Faces], None, _KeyFrame]:
        """Yield the pending frames, given the key frame before them; return the last of them, a key frame too."""
        found = {-1: key.detections}
        self._refine(pending, found, -1, len(pending) - 1)
        previous = -1
        for position in sorted(found)[1:]:
            faces = self._identify(pending[position].index, found[position])
            for between in range(previous + 1, position):
                share = (between - previous) / (position - previous)
                yield pending[between], _interpolated(key.faces, faces, share)
            yield pending[position], faces
            previous, key = position, _KeyFrame(found[position], faces)
        return key

    def _refine(self, pending: Sequence[Frame], found: dict[int, list[Detection]], first: int, last: int) -> None:
        if last not in found:
            found[last] = self._detector.detect(pending[last].image)
        if last - first <= 1 or _agree(found[first], found[last]):
            return
        middle = (first + last) // 2
        self._refine(pending, found, first, middle)
        self._refine(pending, found, middle, last)

    def _identify(self, frame_index: int, detections: Sequence[Detection]) -> Faces:
        self._live = [live for live in self._live if frame_index - live.frame_index <= self._max_gap]
        partners = match([live.box for live in self._live], [detection.box for detection in detections], _MATCH_IOU)
        owner = {new: self._live[old] for old, new in partners}
        faces = []
        for position, detection in enumerate(detections):
            live = owner.get(position) or self._start()
            live.box, live.frame_index = detection.box, frame_index
            faces.append(TrackedFace(live.track_id, detection.box))
        return tuple(faces)

    def _start(self) -> _Live:
        live = _Live(self._next_id, Box(0, 0, 0, 0), 0)
        self._next_id += 1
        self._live.append(live)
        return live


def match(old: Sequence[Box], new: Sequence[Box], least: float) -> list[tuple[int, int]]:
    """Pairs (position in ``old``, position in ``new``) by descending overlap, each box once, overlap >= ``least``."""
    pairs = sorted(((a.iou(b), i, j) for i, a in enumerate(old) for j, b in enumerate(new)), reverse=True)
    taken_old: set[int] = set()
    taken_new: set[int] = set()
    chosen = []
    for overlap, i, j in pairs:
        if overlap >= least and i not in taken_old and j not in taken_new:
            chosen.append((i, j))
            taken_old.add(i)
            taken_new.add(j)
    return chosen


def _agree(first: Sequence[Detection], last: Sequence[Detection]) -> bool:
    if len(first) != len(last):
        return False
    return len(match([d.box for d in first], [d.box for d in last], _AGREE_IOU)) == len(first)


def _interpolated(before: Faces, after: Faces, share: float) -> Faces:
    targets = {face.track_id: face.box for face in after}
    return tuple(
        TrackedFace(face.track_id, face.box.towards(targets[face.track_id], share))
        for face in before
        if face.track_id in targets
    )
