"""Renders as single images for the transplant: the crops and pixels of a recipe, in colour."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from dfer_edge.faces.aligned import ABOVE
from dfer_edge.inference import registry
from dfer_edge.training.data.opening import joined
from dfer_edge.training.data.shards import open_shards
from dfer_edge.training.loader import Reader, epoch_keys, read_batches
from dfer_edge.training.recipes import Crop, Optimiser, Pixels, Stage
from dfer_edge.training.transplant.teacher import SIZE

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


def batches(
    folders: Sequence[Path], seed: int, batch: int, workers: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches: RGB uint8 [B, 3, 112, 112] and labels [B]; the same for the same seed.

    Raises
    ------
    SourceNotFound, CorruptArtifact
        As :func:`~dfer_edge.training.data.shards.open_shards`.
    """
    parts = [open_shards(folder) for folder in folders]
    data = joined(parts, parts[0].labels)
    # The network has its own mean and deviation: pixels are wanted as they are.
    unit = 1 / 255
    spec = dataclasses.replace(
        registry.find("slowr50_sa").spec, frames=1, size=SIZE, mean=(0.0, 0.0, 0.0), std=(unit, unit, unit)
    )
    stage = Stage(epochs=1, batch=batch, optimiser=Optimiser("adamw", lr=1e-3), frames=1, crop=CROP, pixels=PIXELS)
    epoch = 0
    while True:
        keys = epoch_keys(len(data.targets), (seed, epoch), batch, 0, 1)
        for found, _ in read_batches(Reader(data, spec, stage), keys, workers):
            pixels = found["clip"][:, :, 0].round().clamp(0, 255).to(torch.uint8)
            yield pixels, found["label"]
        epoch += 1
