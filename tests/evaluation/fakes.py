"""Data and recognisers small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfer_edge import NoFaceFound
from dfer_edge.evaluation.data import DataSet, Sample
from dfer_edge.inference import registry
from dfer_edge.types import Box, Clip, Detection, Prediction

SPEC = registry.find("slowr50_sa").spec


def write_image(path: Path, level: int = 128, size: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size, size, 3), level, np.uint8))
    return path


class WholeDetector:
    """One face, the middle half of the image; none in black images."""

    name = "whole"

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.calls += 1
        height, width = image.shape[:2]
        box = Box(width / 4, height / 4, 3 * width / 4, 3 * height / 4)
        return [Detection(box, 1.0)] if image.max() > 20 else []


class FakeRecognizer:
    """Says class ``level // 40`` for the brightness of the middle frame, surer the larger the detector's box."""

    spec = SPEC

    def __init__(self, detector: Any, engine: str = "onnxruntime", precision: str = "fp32") -> None:
        self._detector, self._engine, self._precision = detector, engine, precision
        self.sources: list[Any] = []
        self.faces: list[str] = []

    def info(self) -> dict[str, Any]:
        return {
            "model": "slowr50_sa",
            "weights": {"name": "fake.safetensors", "sha256": "ab" * 32, "compact": ""},
            "engine": self._engine,
            "precision": self._precision,
            "device": "cpu",
            "threads": 1,
            "conv_form": "2d",
            "simplifications": "",
            "detector": "whole",
            "face_box": "detector",
            "landmark_detector": None,
        }

    def predict(self, source: Any, faces: str = "detect") -> Prediction:
        self.sources.append(source)
        self.faces.append(faces)
        found = self._detector.detect(source[0])
        if not found:
            raise NoFaceFound("no face")
        sure = min(0.9, 0.5 + found[0].box.width / source[0].shape[1] / 2)
        scores = np.full(7, (1 - sure) / 6, np.float32)
        index = int(source[len(source) // 2].mean()) // 40
        scores[index] = sure
        labels = self.spec.labels
        times = {"engine": 2.0, "total": 3.0}
        return Prediction(labels[index], sure, labels, scores, (0,), found[0].box, times, {})


def data_set(*samples: tuple[Path, int]) -> DataSet:
    made = tuple(Sample(path.name, path, truth) for path, truth in samples)
    return DataSet("fake", "by hand", SPEC.labels, made, {})


def clip(frames: int, size: int, seed: int = 0) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), np.uint8)
    return Clip(pixels, tuple(range(frames)), Box(0, 0, size, size))
