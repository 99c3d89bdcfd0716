"""Face detectors behind one protocol, with boxes of one convention: from forehead to chin, ear to ear (YuNet's)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import cv2
import numpy as np

from dfer_edge.cache.downloads import YUNET
from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.faces.regions import box_of_square, shrunk
from dfer_edge.faces.rendered import RenderedFaces, is_rendered
from dfer_edge.system import settings
from dfer_edge.system.call_lock import CallLock
from dfer_edge.types import Box, Detection, Image

T = TypeVar("T")


class Detector(Protocol):
    """Anything that finds faces; the ``name`` of an object that has none is that of its class.

    Where threads share a recogniser they share its detector: ``detect`` may then be called by several at once.
    """

    name: str

    def detect(self, image: Image) -> list[Detection]:
        """Faces of an RGB frame [H, W, 3], best first, boxes in its pixels."""
        ...


@dataclasses.dataclass(frozen=True)
class _Named:
    name: str
    detect: Any


def named(detector: T) -> T:
    """A detector of faces or landmarks as it is, or under the name of its class if it has no ``name``."""
    if hasattr(detector, "name"):
        return detector
    return cast(T, _Named(type(detector).__name__, detector.detect))  # type: ignore[attr-defined]


class HaarDetector:
    """The frontal-face cascade of the OpenCV wheel: nothing to download, frontal faces only.

    Parameters
    ----------
    longest
        Frames are shrunk to this many pixels on their longer side; faces below a ninth of the shorter are not searched.
    """

    name = "haar"

    # Median Haar box against YuNet's on 40 stills with one face found by both (bench/studies/face_boxes.py): a square
    # of side s answers a box 0.78 s wide and 1.10 s high whose centre lies 0.02 s lower.
    _WIDTH, _HEIGHT, _DOWN = 0.78, 1.10, 0.02

    def __init__(self, longest: int = 320) -> None:
        self._longest = longest
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise CorruptArtifact(f"expected the Haar cascade of the OpenCV wheel at {path}")
        # A cascade keeps the picture it searches: two calls at once answer with each other's faces.
        self._calls = CallLock()

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`Detector`; a cascade has no score, so the score is the neighbour count squashed to 0..1."""
        small, scale = shrunk(image, self._longest)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        smallest = max(20, min(grey.shape) // 9)
        if min(grey.shape) < smallest:
            return []
        with self._calls:
            boxes, counts = self._cascade.detectMultiScale2(
                grey, scaleFactor=1.2, minNeighbors=5, minSize=(smallest, smallest)
            )
        found = []
        for box, count in zip(boxes, counts, strict=True):
            left, top, side = (float(edge) / scale for edge in box[:3])
            square = box_of_square(left, top, side, (self._WIDTH, self._HEIGHT, self._DOWN))
            found.append(Detection(square, float(count / (count + 5))))
        return sorted(found, key=lambda detection: -detection.score)


class YuNetDetector:
    """YuNet through ``cv2.FaceDetectorYN``: small and turned faces too.

    Parameters
    ----------
    path
        The ONNX file.
    longest
        Frames are shrunk to this many pixels on their longer side.
    threshold
        Smallest score, 0 to 1.
    """

    name = "yunet"

    def __init__(self, path: str | Path, longest: int = 480, threshold: float = 0.6) -> None:
        self._longest = longest
        if not Path(path).is_file():
            raise WeightsNotFound(f"expected a YuNet file, found nothing at {path}", "dfer-edge models fetch yunet")
        try:
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, 0.3, 200)
            self._network.detect(np.zeros((320, 320, 3), np.uint8))
            self.fingerprint = f"yunet {file_sha256(Path(path))} {longest} {threshold}"
        except cv2.error as error:
            known = "the ONNX file of a face detector (YuNet, or another training of the shipped one)"
            raise CorruptArtifact(f"expected {known}, got {path}: {error.err}") from error
        # The size of the picture is a state of the network.
        self._calls = CallLock()

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`Detector`; with the five points of each face."""
        small, scale = shrunk(image, self._longest)
        height, width = small.shape[:2]
        with self._calls:
            self._network.setInputSize((width, height))
            _, found = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        rows = [] if found is None else found.tolist()
        return [
            Detection(Box(x / scale, y / scale, (x + w) / scale, (y + h) / scale), row[14], _points(row, scale))
            for row in rows
            for x, y, w, h in [row[:4]]
        ]


def _points(row: list[float], scale: float) -> tuple[tuple[float, float], ...]:
    return tuple((row[k] / scale, row[k + 1] / scale) for k in range(4, 14, 2))


def yunet_path() -> Path | None:
    """The YuNet file that ``yunet`` means: the user's own, else the fetched one; None if there is neither."""
    override = settings.yunet_override()
    if override is not None:
        return override
    return YUNET.path if YUNET.path.is_file() else None


def make_detector(detector: str | Path | Detector = "auto") -> Detector:
    """A face detector.

    Parameters
    ----------
    detector
        ``"auto"`` or ``"rendered"`` (the shipped one, see :mod:`dfer_edge.faces.rendered`), ``"haar"``, ``"yunet"``
        (the fetched file, or the one that ``DFER_EDGE_YUNET`` names), ``"dlib"`` (where dlib is installed), the path of
        an ONNX file of YuNet or of another training of the shipped detector, or an object with ``detect`` (see
        :class:`Detector`).

    Raises
    ------
    InvalidInput, WeightsNotFound, CorruptArtifact
    EngineUnavailable
        For dlib's, where it is not installed.
    """
    if not isinstance(detector, (str, Path)) and callable(getattr(detector, "detect", None)):
        return named(detector)
    if detector in ("auto", RenderedFaces.name):
        return RenderedFaces()
    if detector == "haar":
        return HaarDetector()
    if detector == "dlib":
        from dfer_edge.faces.detector_dlib import DlibDetector

        return DlibDetector()
    if detector == "yunet":
        path = yunet_path()
        if path is None:
            raise WeightsNotFound(
                f"expected a YuNet file, found nothing at {YUNET.path}", "dfer-edge models fetch yunet"
            )
        return YuNetDetector(path)
    if isinstance(detector, (str, Path)) and Path(detector).suffix == ".onnx":
        return _of_file(Path(detector))
    raise InvalidInput(
        f'expected detector "auto", "rendered", "haar", "yunet", "dlib" or the path of an .onnx file; got {detector!r}'
    )


def _of_file(path: Path) -> Detector:
    if not path.is_file():
        raise WeightsNotFound(
            f"expected a face detector's file, found nothing at {path}", "dfer-edge models fetch yunet"
        )
    return RenderedFaces(path) if is_rendered(path) else YuNetDetector(path)
