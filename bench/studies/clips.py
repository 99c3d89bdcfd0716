"""Varied clips from a folder of real videos and stills: the same feed for parity and calibration checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dfer_edge.calibration import ClipSet
from dfer_edge.faces import FaceFollower, for_network
from dfer_edge.flow import preprocess
from dfer_edge.flow.clips import uniform_indices
from dfer_edge.sources.opening import open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Clip, Image

Sequence = list[tuple[Image, Box]]


def sequences(media: Path, spec: ModelSpec, detector: str = "auto") -> list[Sequence]:
    """One list of (frame, face box) per person and video, and per still with a face; boxes as the spec wants them."""
    files = sorted((media / "video").iterdir()) + sorted((media / "stills" / "validation").glob("*.jpg"))
    found: list[Sequence] = []
    faces_of, _ = for_network(spec, detector)
    for path in files:
        people: dict[int, Sequence] = {}
        for frame, faces in FaceFollower(faces_of).track(open_source(path)):
            for face in faces:
                people.setdefault(face.track_id, []).append((frame.image, face.box))
        found.extend(people.values())
    return found


def varied_clips(media: Path, spec: ModelSpec, count: int, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """``count`` normalised clips [3, T, S, S]: random person, stretch, crop, mirror, light and contrast, by seed."""
    rng = np.random.default_rng(seed)
    people = sequences(media, spec)
    return [_clip(people[number % len(people)], spec, rng) for number in range(count)]


def varied_clip_set(media: Path, spec: ModelSpec, count: int, seed: int = 0) -> ClipSet:
    """The same on disk, for calibration; landmarks, where the network takes them, on a fixed grid."""
    rng, clips, people = np.random.default_rng(seed), ClipSet(spec), sequences(media, spec)
    for number in range(count):
        frames = _crops(people[number % len(people)], spec, rng)
        points = np.tile(grid(spec), (spec.frames, 1, 1)) if spec.landmarks else None
        clips.add(Clip(frames, (), Box(0, 0, spec.size, spec.size), points))
    return clips


def grid(spec: ModelSpec) -> npt.NDArray[np.float32]:
    """68 landmarks where a face has them, roughly: [68, 2] pixels."""
    across, down = np.meshgrid(np.linspace(0.2, 0.8, 17), np.linspace(0.3, 0.8, 4))
    return (np.stack([across, down], -1).reshape(-1, 2) * spec.size).astype(np.float32)


def _clip(person: Sequence, spec: ModelSpec, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return preprocess.normalise(_crops(person, spec, rng), spec)


def _crops(person: Sequence, spec: ModelSpec, rng: np.random.Generator) -> Image:
    length = int(rng.integers(1, len(person) + 1))
    start = int(rng.integers(0, len(person) - length + 1))
    chosen = [person[start + position] for position in uniform_indices(length, spec.frames)]
    scale, shift = rng.uniform(0.85, 1.3), rng.uniform(-0.08, 0.08, 2)
    crops = np.stack([preprocess.face_crop(image, _jittered(box, scale, shift), spec) for image, box in chosen])
    lit = np.clip((crops.astype(np.float32) - 128) * rng.uniform(0.6, 1.4) + 128 + rng.uniform(-40, 40), 0, 255)
    mirrored = lit[:, :, :: int(rng.choice([-1, 1]))]
    return np.ascontiguousarray(mirrored).astype(np.uint8)


def _jittered(box: Box, scale: float, shift: npt.NDArray[np.float64]) -> Box:
    x, y = (box.left + box.right) / 2 + shift[0] * box.width, (box.top + box.bottom) / 2 + shift[1] * box.height
    return Box(
        x - box.width * scale / 2, y - box.height * scale / 2, x + box.width * scale / 2, y + box.height * scale / 2
    )
