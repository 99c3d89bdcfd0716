"""Parameters and operations of the printed networks: what the papers printed, counted anew."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from dfer_edge.inference import record, registry
from dfer_edge.models import complexity, create_model


@functools.lru_cache(maxsize=64)
def printed(name: str, num_classes: int | None = None, **options: Any) -> tuple[int, int]:
    """Parameters and multiply-accumulates (of convolutions and matrix products) of a printed network."""
    module = on_shapes(name, num_classes, **options)
    return complexity.count_parameters(module), complexity.count_macs(module, *_inputs(module))


@functools.lru_cache(maxsize=16)
def simplified(name: str) -> tuple[int, int]:
    """The same of the exact inference form."""
    graph, _, _ = record(registry.find(name).spec)
    return graph.parameters, graph.macs


def on_shapes(name: str, num_classes: int | None = None, **options: Any) -> nn.Module:
    """A printed network without memory."""
    with torch.device("meta"):
        return create_model(name, num_classes, **options)


def training_graph_macs(name: str) -> int:
    """Multiply-accumulates of the training graph of ``r2plus1d_sta`` with its loss branch, a clip of a batch of two."""
    module: Any = on_shapes(name, loss_branch=True)
    pooled, labels = torch.empty(2, 256, 4, 14, 14), torch.zeros(2, dtype=torch.int64)
    return printed(name)[1] + complexity.count_macs(module.loss_branch, pooled, labels) // 2


def c3d_macs() -> int:
    """Multiply-accumulates of C3D (Tran et al., ICCV 2015), 16 frames of 112 x 112 and 101 classes."""
    frames, side, channels, total = 16, 112, 3, 0
    for width, depth in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(depth):
            total += 27 * channels * width * frames * side * side
            channels = width
        # The first pooling leaves the frames, the last rounds up: 512 x 1 x 4 x 4 are left.
        frames, side = frames // (1 if width == 64 else 2), (side + side % 2) // 2
    return total + channels * side * side * 4096 + 4096 * 4096 + 4096 * 101


def r3d_18_macs() -> int:
    """Multiply-accumulates of 3D ResNet-18 as torchvision's ``r3d_18``, 16 frames of 112 x 112 and 400 classes."""
    frames, side, channels = 16, 56, 64
    total = 3 * 7 * 7 * 3 * channels * frames * side * side
    for width in (64, 128, 256, 512):
        if width != channels:
            frames, side = frames // 2, side // 2
            total += channels * width * frames * side * side  # the shortcut
        total += 27 * (channels + 3 * width) * width * frames * side * side
        channels = width
    return total + channels * 400


def _inputs(module: Any) -> tuple[torch.Tensor, ...]:
    return complexity.example_inputs(module.spec)
