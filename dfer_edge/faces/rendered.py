"""The shipped face detector, trained on renders alone (its card is ``dfer_edge/assets/faces.md``).

A frame is looked at twice: once at 640x384 pixels' worth (576x340 if it is no larger), once small, for faces that
fill it. Where that shows small faces and the frame has more pixels, it is looked at once more from nearer: people at a
distance are rarely alone. If no look shows a face, the frame is turned by a quarter to either side and upside down, and
looked at small: phone video without its tag. At last the landmark network is asked of the three likeliest places. That
costs an empty frame less than as much again, and depends on the frame alone.

Each face is looked at again alone, and one that is still in doubt is shown to the landmark network, whose mistakes are
others: it knows a sleeve or a fist for none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact, WeightsNotFound
from dfer_edge.system import cpu
from dfer_edge.system.onnx_session import cpu_session
from dfer_edge.types import Box, Detection, Image

if TYPE_CHECKING:
    from dfer_edge.faces.landmarks import ScoredLandmarkDetector

FloatArray = npt.NDArray[np.float32]

_ASSETS = Path(__file__).parents[1] / "assets"
SHIPPED, CHECK = _ASSETS / "faces.onnx", _ASSETS / "face_check.onnx"
STRIDES = (8, 16, 32)
# Score, box, five points.
_OUTPUTS = 15
# What the network was trained to take for nothing: beyond the edge of an image.
_GREY = 110
_PIXELS, _FEWER, _LONGEST = 640 * 384, 576 * 340, 960
# Faces of the small look count from this size on, in its pixels: smaller ones are the first look's.
_SMALL, _SMALL_LEAST = 224, 72.0
_TURNED = 288
_OVERLAP, _NESTED = 0.4, 0.7
# What is looked at again, from this score on (in frames of few pixels, where faces are larger, from the second), in
# patches of this side: size of the face, mirrored or not.
_FIRST, _FIRST_FEWER, _PATCH = 0.15, 0.25, 96
_FILLS, _SURE = 0.45, 0.65
_FRAMED, _FRAMED_LEAST = 320, 0.37
# Sides of faces, in pixels of the first look, below which a nearer look is taken; so much nearer at most, and at so
# many pixels; faces of fewer pixels of the frame say nothing.
_SMALL_FACE, _NEARER, _NEAR_PIXELS, _LEAST_SIDE = 36.0, 2.0, 1_000_000, 20.0
# A face of a lower score than the first is in doubt: the landmark network's log odds, less those of a typical face, are
# added with this weight. Measured on crowds: at 88 % of YuNet's faces a third of the false ones.
_CERTAIN, _WEIGHT, _TYPICAL = 0.55, 0.25, 2.8
# Log odds that it is believed at most: of faces below this side, which it sees enlarged, less.
_MOST_ODDS, _MOST_ODDS_BELOW, _ENLARGED = 6.0, 3.9, 32.0
# The only face of a frame may score less by this.
_ALONE = 0.09
# Where no look confirms a face: the best so many from this score on are shown to the landmark network, whose log odds
# count this much, and the sum must reach this. Of pictures without a face 1.5 is the most that was seen, of faces that
# fill the frame or are drawn wide 2.1 the least.
_LAST, _LAST_SCORE, _LAST_WEIGHT, _LAST_LEAST = 3, 0.27, 0.5, 1.9
# Faces in doubt that are looked at, the likeliest first.
_MOST_DOUBTS = 40
# Of the order and rules of looks: faces kept on disk are found anew when it changes.
_RULE = 7
_VIEWS = ((48.0, True), (64.0, False), (34.0, True))
_CELL_LIMIT = 6.0
_MOST = 200


class RenderedFaces:
    """The network on ONNX Runtime.

    Parameters
    ----------
    path
        The shipped file or another training of it.
    threshold, turned_threshold
        Smallest scores, 0 to 1: of upright faces, and of those in a turned frame.
    threads
        CPU threads; one if None: the network is too small for more to pay.
    second
        Says of a face in doubt whether it is one; the landmark network in ``face_check.onnx``, loaded when it is first
        needed, if None.

    Raises
    ------
    WeightsNotFound, CorruptArtifact
        There is no file, or it is no detector of this kind.
    """

    name = "rendered"

    def __init__(
        self,
        path: str | Path = SHIPPED,
        threshold: float = 0.5,
        turned_threshold: float = 0.5,
        threads: int | None = None,
        second: ScoredLandmarkDetector | None = None,
    ) -> None:
        self._threshold, self._turned_threshold = threshold, turned_threshold
        if not Path(path).is_file():
            raise WeightsNotFound(
                f"expected a face detector's file, found nothing at {path}", "install the package anew"
            )
        self._session = _session(path, threads or 1)
        self._given = second
        other = getattr(second, "fingerprint", second.name) if second else file_sha256(CHECK)
        self.fingerprint = f"rendered {_RULE} {file_sha256(Path(path))} {threshold} {turned_threshold} {other}"
        if not _recognised(self._session):
            raise CorruptArtifact(f"expected a face detector of the shipped kind (grey -> stride8, 16, 32), got {path}")

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`~dfer_edge.faces.detectors.Detector`; with the five points of each face."""
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        height, width = grey.shape
        pixels = _PIXELS if height * width > _PIXELS else _FEWER
        full = min(1.0, (pixels / (height * width)) ** 0.5, _LONGEST / max(height, width))
        first = _FIRST if grey.size > _PIXELS else _FIRST_FEWER
        found = self._look(grey, full, first, 0.0)
        small = _SMALL / max(height, width)
        if small < 0.75 * full:
            found = np.concatenate([found, self._look(grey, small, first, _SMALL_LEAST / small)])
        likely = self._faces(image, grey, found, self._threshold - _ALONE)
        found = likely[likely[:, 0] >= self._threshold]
        if grey.size > _PIXELS and (_sizes(found) * full < _SMALL_FACE).any():
            found = self._nearer(image, grey, full, found)
        if not len(found):
            found = self._turned(grey, min(full, _TURNED / max(height, width)))
        if not len(found):
            found = self._framed(grey, full)
        found = found if len(found) else likely[:1]
        if not len(found):
            found = self._unconfirmed(image, grey, full)
        return [_detection(row) for row in found.tolist()]

    @functools.cached_property
    def _second(self) -> ScoredLandmarkDetector:
        from dfer_edge.faces.landmark_networks import load_network

        return self._given or load_network(CHECK, 1)

    def _faces(self, image: Image, grey: npt.NDArray[np.uint8], rows: FloatArray, least: float) -> FloatArray:
        """Of the rows of some looks those that are faces, by score, which is ``least`` or more."""
        rows = self._confirmed(grey, _best(rows))
        unsure = np.flatnonzero(rows[:, 0] < _CERTAIN)
        most = np.where(_sizes(rows) < _ENLARGED, _MOST_ODDS_BELOW, _MOST_ODDS)
        best = _log_odds(rows[unsure, 0]) + _WEIGHT * (most[unsure] - _TYPICAL)
        scores = np.zeros(len(unsure))
        for place in np.flatnonzero(best >= _log_odds(least))[:_MOST_DOUBTS].tolist():
            row = unsure[place]
            seen = self._second.detect_scored(image, Box(*rows[row, 1:5].tolist()))
            other = -most[row] if seen is None else np.clip(_log_odds(seen.score), -most[row], most[row])
            scores[place] = 1 / (1 + np.exp(-_log_odds(rows[row, 0]) - _WEIGHT * (other - _TYPICAL)))
        rows[unsure, 0] = scores
        order = np.argsort(-rows[:, 0], kind="stable")
        # A part of a face that is seen whole looks like a face too.
        nested = [row in unsure and _inside(rows[order[:place]], rows[row]) for place, row in enumerate(order)]
        rows = rows[order[~np.asarray(nested, bool)]]
        return rows[rows[:, 0] >= least]

    def _nearer(self, image: Image, grey: npt.NDArray[np.uint8], full: float, found: FloatArray) -> FloatArray:
        """Faces, and the small ones that a look from nearer adds."""
        scale = min(_NEARER * full, (_NEAR_PIXELS / grey.size) ** 0.5)
        more = self._look(grey, scale, _FIRST, _LEAST_SIDE)
        more = more[_sizes(more) * full < _SMALL_FACE]
        known = [bool((_overlap(found[:, 1:5], row[1:5]) > _OVERLAP).any()) for row in more]
        return _best(np.concatenate([found, self._faces(image, grey, more[~np.asarray(known, bool)], self._threshold)]))

    def _framed(self, grey: npt.NDArray[np.uint8], scale: float) -> FloatArray:
        """Faces that fill the frame, seen with room round it, where they can be confirmed like any other."""
        small = _resized(grey, scale)
        room = max(small.shape) // 2
        wide = np.pad(small, room, constant_values=np.uint8(small.mean()))
        shrunk = min(1.0, _FRAMED / max(wide.shape))
        rows = self._confirmed(wide, _best(self._look(wide, shrunk, _FIRST_FEWER, 0.0)))
        # A large face in the middle of nothing is rarely an accident: less is asked of it.
        large = _sizes(rows) >= _FILLS * min(small.shape)
        rows = rows[rows[:, 0] >= np.where(large, _FRAMED_LEAST, self._threshold)]
        rows[:, 1:] -= room
        rows[:, 1:] *= np.tile(
            np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]], np.float32), 7
        )
        return rows

    def _unconfirmed(self, image: Image, grey: npt.NDArray[np.uint8], full: float) -> FloatArray:
        """The face that the landmark network sees, where looks alone confirm none: too little is round it."""
        small = min(full, _SMALL / max(grey.shape))
        rows = np.concatenate([self._look(grey, scale, _LAST_SCORE, 0.0) for scale in (full, small, small / 2)])
        rows = rows[np.argsort(-rows[:, 0], kind="stable")][:_LAST]
        for row in rows:
            seen = self._second.detect_scored(image, Box(*row[1:5].tolist()))
            other = -_MOST_ODDS if seen is None else np.clip(_log_odds(seen.score), -_MOST_ODDS, _MOST_ODDS)
            odds = _log_odds(row[0]) + _LAST_WEIGHT * other
            row[0] = 1 / (1 + np.exp(_LAST_WEIGHT * _TYPICAL - odds)) if odds >= _LAST_LEAST else 0.0
        return rows[np.argsort(-rows[:, 0], kind="stable")][: int(rows[:, 0].any())]

    def _turned(self, grey: npt.NDArray[np.uint8], scale: float) -> FloatArray:
        """Faces that lie or hang: of the turn with the best one."""
        height, width = grey.shape
        best = np.zeros((0, _OUTPUTS), np.float32)
        small = _resized(grey, scale)
        for quarters in (1, 3, 2):
            turned = np.ascontiguousarray(np.rot90(small, quarters))
            rows = self._confirmed(turned, _best(self._look(turned, 1.0, self._turned_threshold, 0.0)))
            rows = rows[rows[:, 0] >= self._turned_threshold]
            if len(rows) and (not len(best) or rows[0, 0] > best[0, 0]):
                best = _turned_back(rows, quarters, turned.shape[0], turned.shape[1])
        best[:, 1:] *= np.tile(np.array([width / small.shape[1], height / small.shape[0]], np.float32), 7)
        return best

    def _confirmed(self, grey: npt.NDArray[np.uint8], rows: FloatArray) -> FloatArray:
        """Scores after further looks at each face alone, brought to the sizes of ``_VIEWS``: their geometric mean.

        A face that fills the frame keeps its score, which must be high: there is nothing round it to look at.
        """
        size = _sizes(rows)
        filling = rows[(size >= _FILLS * min(grey.shape)) & (rows[:, 0] >= _SURE)]
        rows = rows[size < _FILLS * min(grey.shape)]
        if not len(rows):
            return np.asarray(filling, np.float32)
        views = [(row, face, mirrored) for face, mirrored in _VIEWS for row in rows]
        patches = np.stack([_patch(grey, row[1:5], face, mirrored) for row, face, mirrored in views])
        outputs = self._session.run(None, {"grey": patches[:, None]})
        for index, (row, face, _) in enumerate(views):
            again = np.concatenate(list(_decoded([output[index : index + 1] for output in outputs], 0.02)))
            again = again[_overlap(again[:, 1:5], _wanted(row, face)) >= _OVERLAP]
            row[0] *= max((float(score) for score in again[:, 0]), default=0.0)
        rows[:, 0] **= 1 / (1 + len(_VIEWS))
        rows = np.concatenate([rows, filling])
        return rows[np.argsort(-rows[:, 0], kind="stable")]

    def _look(self, grey: npt.NDArray[np.uint8], scale: float, threshold: float, least: float) -> FloatArray:
        """Rows of score, box and points in pixels of ``grey``, of faces of at least so many pixels; float32 [N, 15]."""
        small = _resized(grey, scale)
        height, width = small.shape
        padded = np.full((-(-height // 32) * 32, -(-width // 32) * 32), _GREY, np.uint8)
        padded[:height, :width] = small
        outputs = self._session.run(None, {"grey": padded[None, None]})
        rows = np.concatenate(list(_decoded(outputs, threshold)))
        factor = np.array([grey.shape[1] / width, grey.shape[0] / height], np.float32)
        rows[:, 1:] *= np.tile(factor, 7)
        return np.asarray(rows[np.isfinite(rows).all(1) & (_sizes(rows) >= least)])


def is_rendered(path: str | Path) -> bool:
    """Whether an ONNX file is a detector of this kind.

    Raises
    ------
    CorruptArtifact
        It does not load.
    """
    return _recognised(_session(path, 1))


def _session(path: str | Path, threads: int) -> Any:
    return cpu_session(str(path), path, min(threads, cpu.available_cores()), "a face detector's ONNX file")


def _recognised(session: Any) -> bool:
    inputs = [(value.name, value.type, value.shape[1:2]) for value in session.get_inputs()]
    outputs = [(value.name, value.shape[1:2]) for value in session.get_outputs()]
    wanted = [(f"stride{stride}", [_OUTPUTS]) for stride in STRIDES]
    return inputs == [("grey", "tensor(uint8)", [1])] and outputs == wanted


def _resized(grey: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    if scale == 1.0:
        return grey
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _decoded(outputs: list[FloatArray], threshold: float) -> Iterator[FloatArray]:
    """Rows of the cells of each level whose score reaches the threshold, pixels of the network's input."""
    logit = float(np.log(threshold / (1.0 - threshold)))
    for output, stride in zip(outputs, STRIDES, strict=True):
        row, column = np.nonzero(output[0, 0] >= logit)
        values = output[0][:, row, column].T
        middle = np.stack([column, row], axis=1).astype(np.float32) + np.float32(0.5)
        reach = np.exp(np.clip(values[:, 1:5], -_CELL_LIMIT, _CELL_LIMIT))
        score = 1.0 / (1.0 + np.exp(-values[:, :1]))
        box = np.concatenate([middle - reach[:, :2], middle + reach[:, 2:]], axis=1)
        points = values[:, 5:] + np.tile(middle, 5)
        yield np.concatenate([score, box * stride, points * stride], axis=1).astype(np.float32)


def _sizes(rows: FloatArray) -> FloatArray:
    """Square roots of the boxes' areas."""
    return np.sqrt(np.maximum((rows[:, 3] - rows[:, 1]) * (rows[:, 4] - rows[:, 2]), 0.0))


def _log_odds(score: Any) -> Any:
    held = np.clip(score, 1e-6, 1 - 1e-6)
    return np.log(held / (1 - held))


def _best(rows: FloatArray) -> FloatArray:
    """One row a face, by descending score."""
    if not len(rows):
        return rows
    boxes = np.concatenate([rows[:, 1:3], rows[:, 3:5] - rows[:, 1:3]], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 0].tolist(), 0.0, _OVERLAP, top_k=5 * _MOST)
    return rows[np.asarray(kept, np.int64).ravel()[:_MOST]]


def _turned_back(rows: FloatArray, quarters: int, height: int, width: int) -> FloatArray:
    """Rows found in an image of these sides that was turned by so many quarters to the left, in pixels before that."""
    points = rows[:, 1:].reshape(len(rows), 7, 2)
    for _ in range(quarters):
        # A quarter to the left took x, y to y, width - x; lengths change places each time.
        points = np.stack([height - points[..., 1], points[..., 0]], axis=-1)
        height, width = width, height
    low, high = points[:, :2].min(1), points[:, :2].max(1)
    return np.concatenate([rows[:, :1], low, high, points[:, 2:].reshape(len(rows), 10)], axis=1)


def _patch(grey: npt.NDArray[np.uint8], box: FloatArray, face: float, mirrored: bool) -> npt.NDArray[np.uint8]:
    """What is round a box; the face has a size in it."""
    scale = face / max(float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]))), 1.0)
    x, y = (box[:2] + box[2:]) / 2
    half = _PATCH / 2
    # Pixels are averaged where they are many: a pyramid level first, then the rest in one resampling.
    while scale < 0.5 and min(grey.shape) >= 4:
        size = (max(1, grey.shape[1] // 2), max(1, grey.shape[0] // 2))
        x, y = x * size[0] / grey.shape[1], y * size[1] / grey.shape[0]
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        scale *= 2.0
    across = -scale if mirrored else scale
    matrix = np.array([[across, 0.0, half - across * x - 0.5], [0.0, scale, half - scale * y - 0.5]])
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    patch = cv2.warpAffine(grey, matrix, (_PATCH, _PATCH), flags=flags, borderMode=border)
    return np.asarray(patch, np.uint8)


def _wanted(row: FloatArray, face: float) -> FloatArray:
    """Where the face of a row lies in its patch."""
    size = np.array([row[3] - row[1], row[4] - row[2]]) * (face / np.sqrt((row[3] - row[1]) * (row[4] - row[2])))
    return np.asarray(np.concatenate([_PATCH / 2 - size / 2, _PATCH / 2 + size / 2]), np.float32)


def _overlap(boxes: FloatArray, box: FloatArray) -> FloatArray:
    """Intersection over union of boxes [N, 4] with one."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(shared / np.maximum(areas - shared, 1e-6))


def _inside(others: FloatArray, row: FloatArray) -> bool:
    """Whether most of a row's box lies in that of one of the others."""
    sides = np.minimum(others[:, 3:5], row[3:5]) - np.maximum(others[:, 1:3], row[1:3])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    return bool((shared > _NESTED * np.prod(row[3:5] - row[1:3])).any())


def _detection(row: list[float]) -> Detection:
    points = tuple((row[k] - 0.5, row[k + 1] - 0.5) for k in range(5, _OUTPUTS, 2))
    return Detection(Box(*row[1:5]), row[0], points)
