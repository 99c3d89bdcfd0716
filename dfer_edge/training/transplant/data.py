"""Renders as single images for the transplant: the crops and pixels of a recipe, in colour."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from dfer_edge.errors import CorruptArtifact
from dfer_edge.faces.aligned import ABOVE
from dfer_edge.inference import registry
from dfer_edge.training.data.opening import joined
from dfer_edge.training.data.pictures import picture_files
from dfer_edge.training.data.shards import open_shards
from dfer_edge.training.loader import Reader, epoch_keys, read_batches
from dfer_edge.training.pixels import augment
from dfer_edge.training.recipes import Crop, Optimiser, Pixels, Stage
from dfer_edge.training.transplant.teacher import SIZE
from dfer_edge.types import Image

CROP = Crop(
    around="landmarks",
    side=(2.15, 2.7),
    centre=(0.0, -ABOVE),
    shift_sd=(0.07, 0.07),
    rotation_deg=(-8.0, 8.0),
)
PIXELS = Pixels(
    grey=0.35,
    brightness=0.3,
    contrast=0.3,
    saturation=0.6,
    tint_sd=0.03,
    gamma_sd=0.2,
    resample=0.35,
    resample_scale=(0.2, 0.6),
    blur=0.15,
    blur_sd=(0.3, 1.1),
    sharpen=0.35,
    light=0.3,
    light_sd=0.5,
    noise=0.2,
    noise_sd=(1.0, 7.0),
    jpeg=0.25,
    cutout=0.1,
)


# Pictures of anything stand among renders in this share: low layers learn skin, hair and noise from them too.
PICTURES = 0.2
_PICTURE_SIDE = (0.15, 1.0)
_KEPT = 24


def batches(
    folders: Sequence[Path],
    seed: int,
    batch: int,
    workers: int = 1,
    pictures: Path | None = None,
    crop: Crop = CROP,
    look: Pixels = PIXELS,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches: RGB uint8 [B, 3, 112, 112] and labels [B]; the same for the same seed.

    ``pictures`` is a folder of photographs of anything but people, of which squares replace a fifth of the renders;
    their label is -1.

    Raises
    ------
    SourceNotFound, CorruptArtifact
        As :func:`~dfer_edge.training.data.shards.open_shards`.
    """
    shown = None if pictures is None else _Pictures(pictures, seed)
    for pixels, _, classes in with_landmarks(folders, seed, batch, workers, crop, look):
        if shown is not None:
            shown.replace(pixels, classes)
        yield pixels, classes


def with_landmarks(
    folders: Sequence[Path],
    seed: int,
    batch: int,
    workers: int = 1,
    crop: Crop = CROP,
    look: Pixels = PIXELS,
    frames: int = 1,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """As :func:`batches`, without pictures, with the 68 points [B, 68, 2] in pixels of the crop between the two.

    Of clips: pixels [B * T, 3, 112, 112] and points [B * T, 68, 2], frame by frame, and labels [B].
    """
    parts = [open_shards(folder) for folder in folders]
    data = joined(parts, parts[0].labels)
    # The network has its own mean and deviation: pixels are wanted as they are.
    unit = 1 / 255
    spec = dataclasses.replace(
        registry.find("slowr50_sa").spec, frames=frames, size=SIZE, mean=(0.0, 0.0, 0.0), std=(unit, unit, unit)
    )
    stage = Stage(epochs=1, batch=batch, optimiser=Optimiser("adamw", lr=1e-3), frames=frames, crop=crop, pixels=look)
    epoch = 0
    while True:
        keys = epoch_keys(len(data.targets), (seed, epoch), batch, 0, 1)
        for found, _ in read_batches(Reader(data, spec, stage), keys, workers):
            pixels = found["clip"].transpose(1, 2).flatten(0, 1).round().clamp(0, 255).to(torch.uint8)
            yield pixels, found["landmarks"].flatten(0, 1), found["label"]
        epoch += 1


class _Pictures:
    """Squares of photographs, a few of which are kept decoded."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.paths = picture_files(folder)
        self.rng, self.kept = np.random.default_rng((seed, 7)), list[Image]()

    def replace(self, pixels: torch.Tensor, classes: torch.Tensor) -> None:
        """Put squares in place of a share of the images."""
        for row in np.flatnonzero(self.rng.random(len(pixels)) < PICTURES):
            found = augment(self._square()[None], PIXELS, self.rng)[0]
            pixels[row] = torch.from_numpy(np.ascontiguousarray(found.transpose(2, 0, 1)))
            classes[row] = -1

    def _square(self) -> Image:
        if len(self.kept) < _KEPT or self.rng.random() < 1 / _KEPT:
            path = self.paths[int(self.rng.integers(len(self.paths)))]
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if picture is None:
                raise CorruptArtifact(f"expected a picture, got {path}")
            self.kept = [*self.kept[-_KEPT + 1 :], np.asarray(picture, np.uint8)]
        picture = self.kept[int(self.rng.integers(len(self.kept)))]
        height, width = picture.shape[:2]
        side = int(min(height, width) * np.exp(self.rng.uniform(*np.log(_PICTURE_SIDE))))
        top, left = self.rng.integers(0, height - side + 1), self.rng.integers(0, width - side + 1)
        square = picture[top : top + side, left : left + side]
        return np.asarray(cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)
