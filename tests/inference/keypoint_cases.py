"""Networks, faces and tolerances that the tests of keypoint_tsa share."""

from __future__ import annotations

import dataclasses

import torch

from dfer_edge.inference import registry
from dfer_edge.inference.keypoint_graph import mean_shape
from dfer_edge.models import keypoint
from dfer_edge.spec import Option

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
SPEC = registry.find("keypoint_tsa").spec
# Side and frames of the clips on which exactness shows as well as on 112 and 16.
SMALL, FEW = 32, 5


def trained_like(size: int = SMALL, frames: int = FEW, **options: Option) -> torch.nn.Module:
    """A network whose norms and biases are far from their start, so that a wrong fold shows."""
    torch.manual_seed(0)
    spec = dataclasses.replace(SPEC.with_options(**options), frames=frames)
    module = keypoint.create(spec, size=size).eval()
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
        if isinstance(norm, torch.nn.BatchNorm2d | torch.nn.LayerNorm):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, 0, 0.2)
    for name, table in module.named_parameters():
        if name in ("temporal.cls", "temporal.position"):
            torch.nn.init.normal_(table, 0, 0.5)
        if name == "regions.relation.weight":
            torch.nn.init.normal_(table, 0.01, 0.05)
    return module


def faces(batch: int, frames: int, size: int, seed: int = 1) -> torch.Tensor:
    """Landmarks [B, T, 68, 2] in pixels: the mean shape, jittered by a tenth of the crop, some outside of it."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, frames, 68, 2, generator=generator, dtype=torch.float64)
    return (torch.from_numpy(mean_shape()) + 0.1 * noise) * size - 0.5
