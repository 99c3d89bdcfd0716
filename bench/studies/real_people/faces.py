"""Detectors that remember on disk what they said of a picture: a second weights file looks for no face again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.studies.real_people.samples import Sample
from dfer_edge.faces import Detector, LandmarkDetector, make_detector
from dfer_edge.faces.landmarks import Landmarks, ScoredLandmarkDetector, make_laying_detector
from dfer_edge.sources.opening import open_source
from dfer_edge.system import settings
from dfer_edge.types import Box, Detection, Image, Points

_PROBES = 8


class Memory:
    """Answers by question, in a JSON file that is written whole by :meth:`save`; a file that does not read is empty.

    Parameters
    ----------
    path
        Of the file; its folder is made when it is written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._digest = path, ""
        self._image: Image | None = None
        self.answers: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            self.answers = dict(json.loads(path.read_text()))
        self._known = len(self.answers)

    def question(self, image: Image) -> str:
        """Digest of an image's pixels; the last one's is kept."""
        if image is not self._image:
            digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
            digest.update(str(image.shape).encode())
            self._image, self._digest = image, digest.hexdigest()
        return self._digest

    def save(self) -> None:
        """Write what is new."""
        if len(self.answers) == self._known:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(self.answers))
        partial.replace(self._path)
        self._known = len(self.answers)


class RememberingDetector:
    """A face detector with a memory."""

    def __init__(self, detector: Detector, memory: Memory) -> None:
        self._detector, self.memory, self.name = detector, memory, detector.name

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`dfer_edge.faces.Detector`."""
        key = self.memory.question(image)
        if key not in self.memory.answers:
            found = self._detector.detect(image)
            self.memory.answers[key] = [[*map(float, face.box), float(face.score)] for face in found]
        return [Detection(Box(*row[:4]), row[4]) for row in self.memory.answers[key]]


class RememberingLandmarks:
    """A landmark detector with a memory."""

    def __init__(self, detector: LandmarkDetector, memory: Memory) -> None:
        self._detector, self.memory, self.name = detector, memory, detector.name

    def detect(self, image: Image, box: Box) -> Points | None:
        """See :class:`dfer_edge.faces.LandmarkDetector`."""
        key = f"{self.memory.question(image)} {' '.join(repr(float(edge)) for edge in box)}"
        if key not in self.memory.answers:
            points = self._detector.detect(image, box)
            self.memory.answers[key] = None if points is None else np.asarray(points, np.float64).tolist()
        answer = self.memory.answers[key]
        return None if answer is None else np.asarray(answer, np.float32)


class RememberingScoredLandmarks(RememberingLandmarks):
    """A landmark detector that says how sure it is, with a memory."""

    def detect_scored(self, image: Image, box: Box) -> Landmarks | None:
        """See :class:`dfer_edge.faces.landmarks.ScoredLandmarkDetector`."""
        key = f"scored {self.memory.question(image)} {' '.join(repr(float(edge)) for edge in box)}"
        if key not in self.memory.answers:
            found = cast(ScoredLandmarkDetector, self._detector).detect_scored(image, box)
            rows = found and [np.asarray(found.points).tolist(), float(found.score), found.confidence.tolist()]
            self.memory.answers[key] = rows
        answer = self.memory.answers[key]
        if answer is None:
            return None
        points, score, confidence = answer
        return Landmarks(np.asarray(points, np.float32), score, np.asarray(confidence, np.float32))


def fingerprint(detector: Detector, landmarks: LandmarkDetector, probes: Sequence[Image]) -> str:
    """Tells detectors apart by what they say of ``probes``: whatever file or code an answer hangs on, it shows there;
    and by their own fingerprints, for what shows elsewhere alone.

    Returns 16 hexadecimal digits.
    """
    own = " ".join(str(getattr(one, "fingerprint", "")) for one in (detector, landmarks))
    said = hashlib.sha256(f"{detector.name} {own}".encode())
    for image in probes:
        for face in detector.detect(image):
            said.update(repr((tuple(map(float, face.box)), float(face.score))).encode())
            points = landmarks.detect(image, face.box)
            said.update(b"none" if points is None else np.asarray(points, np.float32).tobytes())
    return said.hexdigest()[:16]


def finders(
    samples: Sequence[Sample],
    detector: str = "auto",
    landmarks: str = "auto",
    threads: int | None = None,
    folder: Path | None = None,
) -> tuple[RememberingDetector, RememberingLandmarks]:
    """Detectors by name or file, as :class:`dfer_edge.Recognizer` takes them, that remember what they said of samples.

    ``folder`` keeps their memories; the SDK's cache if None.
    """
    found, marks = make_detector(detector), make_laying_detector(landmarks, threads)
    assert marks is not None  # None is made of None alone
    chosen = np.linspace(0, len(samples) - 1, min(_PROBES, len(samples)))
    probes = [next(iter(open_source(samples[int(at)].path))).image for at in chosen]
    return remembering(found, marks, probes, folder or settings.cache_folder() / "real_people")


def remembering(
    detector: Detector, landmarks: LandmarkDetector, probes: Sequence[Image], folder: Path
) -> tuple[RememberingDetector, RememberingLandmarks]:
    """Both with memories in ``folder``, in files that belong to this pair alone."""
    key = fingerprint(detector, landmarks, probes)
    scored = isinstance(landmarks, ScoredLandmarkDetector)
    marks = (RememberingScoredLandmarks if scored else RememberingLandmarks)(
        landmarks, Memory(folder / f"landmarks-{key}.json")
    )
    return RememberingDetector(detector, Memory(folder / f"faces-{key}.json")), marks
