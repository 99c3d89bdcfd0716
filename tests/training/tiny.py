"""A network and clips of a few hundred numbers: the loop is under test, not the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.shards import ArrayClips
from dfer_edge.training.recipes import Crop, Optimiser, Pixels, Recipe, Schedule, Stage

LABELS = ("happy", "sad", "angry")
SPEC = ModelSpec("slowr50", LABELS, frames=4, size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class TinyNet(nn.Module):
    """A convolution, batch norm, dropout and a linear layer, in the training form's manner."""

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        super().__init__()
        self.spec = spec
        self.conv = nn.Conv3d(3, 6, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.mix = nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.norm = nn.BatchNorm3d(6)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(6, len(spec.labels))

    def forward_features(self, clip: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.mix(self.conv(clip))))

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(features.mean((2, 3, 4))))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(clip))


def tiny_net(seed: int = 0) -> TinyNet:
    torch.manual_seed(seed)
    return TinyNet()


def tiny_clips(count: int = 24, seed: int = 0, frames: int = 6, targets: bool = False) -> ArrayClips:
    """Noise whose brightness tells the class; two clips a person."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(LABELS)
    noise = rng.integers(0, 100, (count, frames, 20, 20, 3))
    part = {"frames": (noise + 60 * labels[:, None, None, None, None]).astype(np.uint8), "labels": labels}
    part["persons"] = np.arange(count) // 2
    if targets:
        part["landmarks"] = rng.uniform(4, 16, (count, frames, 68, 2)).astype(np.float32)
        part["units"] = rng.uniform(0, 1, (count, frames, 5)).astype(np.float32)
    return ArrayClips("tiny", LABELS, [part])


def tiny_recipe(**changes: object) -> Recipe:
    stage = Stage(
        epochs=2,
        batch=4,
        optimiser=Optimiser("adamw", lr=1e-2, weight_decay=0.01),
        schedule=Schedule("cosine", warmup_epochs=0.5),
        crop=Crop(area=(0.5, 1.0), rotation_deg=(-10, 10)),
        pixels=Pixels(brightness=0.2, grey=0.3, noise=0.5, resample=0.5),
    )
    fields: dict[str, object] = {
        "name": "tiny",
        "source": "tests",
        "stages": (stage,),
        "ema": 0.9,
        "clip_gradient": 1.0,
    }
    return Recipe(**(fields | changes))  # type: ignore[arg-type]
