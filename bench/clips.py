"""Varied clips from a folder of real videos and stills: the same feed for parity and calibration checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfer_edge import preprocess
from dfer_edge.clips import uniform_indices
from dfer_edge.faces import FaceTracker, make_detector
from dfer_edge.sources import open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Image

Sequence = list[tuple[Image, Box]]


def sequences(media: Path, detector: str = "auto") -> list[Sequence]:
    """One list of (frame, face box) per person and video, and per still with a face."""
    files = sorted((media / "video").iterdir()) + sorted((media / "stills" / "validation").glob("*.jpg"))
    found: list[Sequence] = []
    for path in files:
        people: dict[int, Sequence] = {}
        for frame, faces in FaceTracker(make_detector(detector)).track(open_source(path)):
            for face in faces:
                people.setdefault(face.track_id, []).append((frame.image, face.box))
        found.extend(people.values())
    return found


def varied_clips(media: Path, spec: ModelSpec, count: int, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """``count`` normalised clips [3, T, S, S]: random person, stretch, crop, mirror, light and contrast, by seed."""
    rng = np.random.default_rng(seed)
    people = sequences(media)
    return [_clip(people[number % len(people)], spec, rng) for number in range(count)]


def _clip(person: Sequence, spec: ModelSpec, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    length = int(rng.integers(1, len(person) + 1))
    start = int(rng.integers(0, len(person) - length + 1))
    chosen = [person[start + position] for position in uniform_indices(length, spec.frames)]
    scale, shift = rng.uniform(0.85, 1.3), rng.uniform(-0.08, 0.08, 2)
    crops = np.stack([preprocess.face_crop(image, _jittered(box, scale, shift), spec) for image, box in chosen])
    lit = np.clip((crops.astype(np.float32) - 128) * rng.uniform(0.6, 1.4) + 128 + rng.uniform(-40, 40), 0, 255)
    mirrored = lit[:, :, :: int(rng.choice([-1, 1]))]
    return preprocess.normalise(np.ascontiguousarray(mirrored).astype(np.uint8), spec)


def _jittered(box: Box, scale: float, shift: npt.NDArray[np.float64]) -> Box:
    x, y = (box.left + box.right) / 2 + shift[0] * box.width, (box.top + box.bottom) / 2 + shift[1] * box.height
    return Box(
        x - box.width * scale / 2, y - box.height * scale / 2, x + box.width * scale / 2, y + box.height * scale / 2
    )
