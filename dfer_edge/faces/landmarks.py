"""Facial landmarks behind one protocol: 68 points in the order of iBUG 300-W, which is dlib's.

Jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, outer lip 48-59, inner lip 60-67; left and right are the image's. A
network trained on renders ships with the package; the user may name another (:func:`make_landmark_detector`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from dfer_edge.errors import InvalidInput, WeightsNotFound
from dfer_edge.faces.detectors import named
from dfer_edge.faces.landmark_points import FACE_SCORE as FACE_SCORE
from dfer_edge.faces.landmark_points import Landmarks as Landmarks
from dfer_edge.faces.rendered import CHECK
from dfer_edge.system import settings
from dfer_edge.types import Box, Image, Points

COUNT = 68
# Points that lie elsewhere than the box did not find the face that was asked for: least overlap of the rectangle about
# them and the box. Of faces in their own box it is some 0.75.
_LEAST_IOU = 0.3
SHIPPED = Path(__file__).parents[1] / "assets" / "landmarks68.onnx"
CHOICES = "pass landmarks=, or landmark_detector= (--landmarks) an .onnx file, or set DFER_EDGE_LANDMARKS to one"


class LandmarkDetector(Protocol):
    """Anything that finds the points of a face; the ``name`` of an object that has none is that of its class."""

    name: str

    def detect(self, image: Image, box: Box) -> Points | None:
        """Points of the face in ``box``.

        Parameters
        ----------
        image
            uint8 RGB [H, W, 3].
        box
            Of the face in pixels of the image, in the detectors' convention: from forehead to chin, ear to ear.

        Returns
        -------
        float32 [68, 2] in pixels of the image, x then y, pixel centres at integers; they may lie outside the image.
        None if the detector sees no face there.
        """
        ...


@runtime_checkable
class ScoredLandmarkDetector(LandmarkDetector, Protocol):
    """A landmark detector that also says how sure it is."""

    def detect_scored(self, image: Image, box: Box) -> Landmarks | None:
        """As :meth:`LandmarkDetector.detect`, with a score; low scores come with their points.

        None if there is nothing to look at: a box outside the image, or edges that are not finite.
        """
        ...


@runtime_checkable
class BatchLandmarkDetector(LandmarkDetector, Protocol):
    """A landmark detector that looks at several faces in one call."""

    def detect_batch(self, looks: Sequence[tuple[Image, Box]]) -> list[Points | None]:
        """As :meth:`LandmarkDetector.detect` of each image and box."""
        ...


def make_landmark_detector(
    detector: str | Path | LandmarkDetector | None = "auto", threads: int | None = None
) -> LandmarkDetector | None:
    """A landmark detector.

    Parameters
    ----------
    detector
        ``"auto"`` (the file that ``DFER_EDGE_LANDMARKS`` names, else the shipped network), an object with ``detect``,
        None for no detector, or a file: ``.onnx`` with the shipped network or a newer training of it, face-api's
        68-point network or OpenSeeFace's 66-point network (told apart by their shapes, see
        :mod:`dfer_edge.faces.landmark_networks`), ``.dat`` with dlib's 68-point predictor.
    threads
        CPU threads of a network; at most two if None.

    Returns
    -------
    None only for None.

    Raises
    ------
    InvalidInput, WeightsNotFound, CorruptArtifact, EngineUnavailable
    """
    if detector is None:
        return None
    if not isinstance(detector, (str, Path)) and callable(getattr(detector, "detect", None)):
        return named(detector)
    chosen = detector if detector != "auto" else settings.landmarks_override() or SHIPPED
    if not isinstance(chosen, (str, Path)) or Path(chosen).suffix not in (".onnx", ".dat"):
        raise InvalidInput(
            f'expected landmark_detector "auto", None, an .onnx or .dat file or an object, got {chosen!r}'
        )
    if not Path(chosen).is_file():
        raise WeightsNotFound(f"expected a landmark file, found nothing at {chosen}", CHOICES)
    return _load(Path(chosen), threads)


def make_laying_detector(
    detector: str | Path | LandmarkDetector | None = "auto", threads: int | None = None
) -> LandmarkDetector | None:
    """The landmark detector that follows faces and lays the crops of networks.

    As :func:`make_landmark_detector`, but for ``"auto"`` without ``DFER_EDGE_LANDMARKS``: that is the network with
    which the default weights were trained (:class:`~dfer_edge.faces.landmark_networks.FollowingFace68`). Its points lie
    further from the truth than those of the shipped landmark network, but those weights read its crops better.
    """
    if detector != "auto" or settings.landmarks_override():
        return make_landmark_detector(detector, threads)
    from dfer_edge.faces.landmark_networks import load_network

    return load_network(CHECK, threads)


def _load(path: Path, threads: int | None) -> LandmarkDetector:
    # Imported on demand: onnxruntime and dlib are not needed where nobody looks for landmarks.
    if path.suffix == ".dat":
        from dfer_edge.faces.landmark_dlib import DlibLandmarks

        return DlibLandmarks(path)
    from dfer_edge.faces.landmark_networks import load_network

    return load_network(path, threads)


def find(detector: LandmarkDetector, image: Image, box: Box) -> Points:
    """Checked points [68, 2] of a face, float32; all NaN if the detector finds none.

    Raises
    ------
    InvalidInput
        If a detector of the user's answers with something else.
    """
    points = detector.detect(image, box)
    return lost() if points is None else _checked(points, detector.name)


def find_all(detector: LandmarkDetector, looks: Sequence[tuple[Image, Box]]) -> list[Points]:
    """:func:`find` of faces in images of their own; in one call of a detector that has ``detect_batch``."""
    if len(looks) < 2 or not isinstance(detector, BatchLandmarkDetector):
        return [find(detector, image, box) for image, box in looks]
    return [lost() if one is None else _checked(one, detector.name) for one in detector.detect_batch(looks)]


def find_scored(detector: LandmarkDetector, image: Image, box: Box) -> Landmarks:
    """Checked points of a face with a score, of any detector; points NaN and a score of 0 if it finds none.

    A detector without ``detect_scored`` is trusted: 1. The score of any detector is 0 where the points lie elsewhere
    than the box: the rectangle about them overlaps it by less than 0.3.

    Raises
    ------
    InvalidInput
        If a detector of the user's answers with something else.
    """
    if isinstance(detector, ScoredLandmarkDetector):
        found = detector.detect_scored(image, box)
    else:
        bare = detector.detect(image, box)
        found = None if bare is None else Landmarks(bare, 1.0, np.ones(COUNT, np.float32))
    if found is None:
        return Landmarks(lost(), 0.0, np.zeros(COUNT, np.float32))
    points, score, confidence = _checked(found.points, detector.name), found.score, np.asarray(found.confidence)
    if not 0.0 <= score <= 1.0 or confidence.shape != (COUNT,) or confidence.dtype.kind != "f":
        raise InvalidInput(
            f"expected a score from 0 to 1 and confidence [{COUNT}] from {detector.name}, "
            f"got {score} and {confidence.dtype} {list(confidence.shape)}"
        )
    around = Box(*(float(edge) for edge in (*points.min(0), *points.max(0))))
    if around.iou(box) < _LEAST_IOU:
        score = 0.0
    return Landmarks(points, float(score), confidence.astype(np.float32))


def _checked(points: object, name: str) -> Points:
    array = np.asarray(points)
    if array.shape != (COUNT, 2) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InvalidInput(
            f"expected {COUNT} finite points [{COUNT}, 2] from {name}, got {array.dtype} {list(array.shape)}"
        )
    return array.astype(np.float32)


def lost() -> Points:
    """The mark of a face without points: NaN, float32 [68, 2]."""
    return np.full((COUNT, 2), np.nan, np.float32)
