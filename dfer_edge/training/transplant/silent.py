"""Weights of a SlowR50 that no logit hears set to zero: they compress to nothing and widen no range."""

from __future__ import annotations

import torch

from dfer_edge.training.transplant.images import FoldedConv, ImageSlowR50

# A dead channel of a later layer silences one before it: as deep as blocks are stacked.
_ROUNDS = 16


@torch.no_grad()
def silence(images: ImageSlowR50, width: int) -> None:
    """Zero what only unread channels depend on, exactly; the classifier reads the first ``width`` features."""
    stages = [images.blocks(number) for number in range(len(images.stages))]
    for _ in range(_ROUNDS):
        before = sum(int((conv.weight == 0).sum()) for conv in _convolutions(images))
        for blocks in stages:
            for block in blocks:
                _zero(block.b, ~_read([block.c]))
                _zero(block.a, ~_read([block.b]))
        for number, blocks in enumerate(stages):
            readers = [block.a for block in blocks[1:]]
            if number + 1 < len(stages):
                following = stages[number + 1][0]
                readers += [following.a] + ([following.shortcut] if following.shortcut is not None else [])
                heard = _read(readers)
            else:
                heard = _read(readers) | (torch.arange(len(blocks[0].c.weight)) < width)
            for conv in (blocks[0].shortcut, *(block.c for block in blocks)):
                if conv is not None:
                    _zero(conv, ~heard)
        if before == sum(int((conv.weight == 0).sum()) for conv in _convolutions(images)):
            return


def _convolutions(images: ImageSlowR50) -> list[FoldedConv]:
    return [module for module in images.modules() if isinstance(module, FoldedConv)]


def _read(readers: list[FoldedConv]) -> torch.Tensor:
    """Which input channels have any weight in one of ``readers``."""
    return torch.stack([conv.weight.abs().sum((0, 2, 3)) > 0 for conv in readers]).any(0)


def _zero(conv: FoldedConv, channels: torch.Tensor) -> None:
    conv.weight[channels] = 0
    conv.bias[channels] = 0
