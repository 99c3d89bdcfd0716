"""Channels of a SlowR50 brought to one scale, exactly: what int8 with one range a tensor loses least on.

A ReLU lets a positive factor through. A channel may therefore be divided by its range where it is written and
multiplied where it is read (Nagel et al., "Data-free quantization through weight equalization and bias correction",
ICCV 2019, section 4.1), the residual stream of a stage at all its writers and readers at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dfer_edge.training.transplant.images import FoldedConv, ImageSlowR50

# The range of a channel is what all but this share of its values keep to; silent channels are left alone.
_QUANTILE = 0.9999
_SILENT = 1e-3
_MOST_VALUES = 200_000


@torch.no_grad()
def equalise(images: ImageSlowR50, pixels: torch.Tensor) -> None:
    """Give each channel of stem, bottlenecks and residual streams the range of its tensor's median channel.

    Parameters
    ----------
    pixels
        Normalised images [B, 3, H, W] that show what the ranges are.
    """
    outputs: dict[nn.Module, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, torch.relu(output)))
        for module in images.modules()
        if isinstance(module, FoldedConv)
    ]
    stages = [images.blocks(number) for number in range(len(images.stages))]
    streams = [
        stage.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
        for blocks in stages
        for stage in blocks
    ]
    images(pixels)
    for hook in (*hooks, *streams):
        hook.remove()
    first = stages[0][0]
    _scale(_gains([outputs[images.stem]]), [images.stem], [first.a, first.shortcut])
    for number, blocks in enumerate(stages):
        for block in blocks:
            _scale(_gains([outputs[block.a]]), [block.a], [block.b])
            _scale(_gains([outputs[block.b]]), [block.b], [block.c])
        following = stages[number + 1][0] if number + 1 < len(stages) else None
        if following is None:
            continue  # the classifier reads the last stream
        writers = [blocks[0].shortcut, *(block.c for block in blocks)]
        readers = [*(block.a for block in blocks[1:]), following.a, following.shortcut]
        _scale(_gains([outputs[block] for block in blocks]), writers, readers)


def _gains(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """What each channel is multiplied by, [C]."""
    most = torch.stack([_range(tensor) for tensor in tensors]).amax(0)
    heard = most > _SILENT * most.max()
    wanted = most[heard].median()
    # Powers of two: what is written exactly stays exact in bf16, where 1.01 times 1 / 1.01 is not 1.
    gains = torch.exp2(torch.log2(wanted / most.clamp_min(1e-12)).round())
    return torch.where(heard, gains, torch.ones_like(most))


def _range(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.transpose(0, 1).flatten(1)
    step = max(1, flat.shape[1] // _MOST_VALUES)
    return torch.quantile(flat[:, ::step].float(), _QUANTILE, dim=1)


def _scale(gains: torch.Tensor, writers: Iterable[FoldedConv | None], readers: Iterable[FoldedConv | None]) -> None:
    for conv in writers:
        if conv is not None:
            conv.weight.mul_(gains[:, None, None, None])
            conv.bias.mul_(gains)
    for conv in readers:
        if conv is not None:
            conv.weight.div_(gains[None, :, None, None])
