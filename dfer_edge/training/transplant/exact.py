"""The teacher's last three blocks as res2 to res4, exactly.

Let C be a block's width and s its running sum, which may be negative. The first C channels of a stage carry ``s + B``
with B large enough that the ReLU after each bottleneck leaves it as it is. A bottleneck then is one convolution:

    a (1x1): relu(s), by the bias -B        b (3x3): K relu(s) + bias + O, O as B        c (1x1): minus O, added to s

With strides: SlowR50 at 112 pixels has maps of 28, 14, 7 where the teacher's blocks 1, 2, 3 have them. Block 1 has its
first convolution in what stem and pool learn (:mod:`.fit`); res5 adds up boxes of 2x2, so that the mean after it
is the mean that the teacher takes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from dfer_edge.training.transplant.images import FoldedBlock, FoldedConv, ImageSlowR50
from dfer_edge.training.transplant.teacher import WIDTHS, Teacher, normalised

Offsets = dict[str, torch.Tensor]
# Shares of values that offsets let the ReLU cut, of sums and of what is added to them: the lowest sums say nothing that
# their ReLU keeps. High offsets cost bf16 its digits: of the pooled features' variance bf16 loses 0.028 at 0.003 and
# 0.0075 here, where the cut itself costs 0.003.
CUTS = (0.2, 0.1)
_LEAST = 0.02
_MOST_VALUES = 20_000


@torch.no_grad()
def offsets(teacher: Teacher, pixels: torch.Tensor, cuts: tuple[float, float] = CUTS) -> Offsets:
    """B of each block (``"2"``) and O of each of its convolutions (``"2.1"``), [C] each, from what images show.

    ``cuts`` are the shares of sums, and of what is added to them, that lie below their offset.
    """
    values: dict[str, torch.Tensor] = {}
    x = normalised(pixels)
    for block in range(len(WIDTHS)):
        sums = teacher.sums(block, x)
        for number in (1, 2, 3):
            values[f"{block}.{number}"] = sums[number] - sums[number - 1]
        values[str(block)] = torch.stack(sums[1:]).amin(0)
        x = torch.relu(sums[-1])
    return {name: _offset(value, cuts["." in name]) for name, value in values.items()}


def _offset(value: torch.Tensor, cut: float) -> torch.Tensor:
    flat = value.transpose(0, 1).flatten(1)
    low = torch.quantile(flat[:, :: max(1, flat.shape[1] // _MOST_VALUES)], cut, dim=1)
    return (-low).clamp_min(_LEAST)


@torch.no_grad()
def write(images: ImageSlowR50, teacher: Teacher, found: Offsets, seed: int = 0) -> None:
    """Write blocks 1 to 3 into res2 to res5; other channels get small random weights and add nothing to begin with."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in images.named_modules():
        if isinstance(module, FoldedConv):
            silent = name.endswith((".c", ".shortcut"))
            spread = 0.0 if silent else module.weight[0].numel() ** -0.5
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * spread)
            module.bias.zero_()
    for block in (1, 2, 3):
        stage = images.blocks(block - 1)
        first = 1 if block == 1 else 0  # stem and pool give the first map of block 1
        for number in range(first, 4):
            _convolution(stage[number - first], teacher, found, block, number)
    last, width = images.blocks(3)[0], WIDTHS[-1]
    _pass(last.a, width, width, -found["3"])
    last.b.weight[:width] = 0
    # At stride 2 with a border of 1 each of 7 x 7 places is read once by four of the nine taps, into 4 x 4.
    last.b.weight[torch.arange(width), torch.arange(width), 1:, 1:] = 4 * 4 / (7 * 7)
    last.b.bias[:width] = 0
    _pass(last.c, width, width, torch.zeros(width))
    images.classifier.weight.zero_()
    images.classifier.weight[:, :width] = teacher.classifier.weight
    images.classifier.bias.copy_(teacher.classifier.bias)


def _convolution(folded: FoldedBlock, teacher: Teacher, found: Offsets, block: int, number: int) -> None:
    width, at, total = WIDTHS[block], 4 * block + number, found[str(block)]
    begins = number == (1 if block == 1 else 0)
    source = WIDTHS[block - 1] if number == 0 else width
    before = found[str(block - 1)] if number == 0 else total
    # What stem and pool give is rectified and has no offset yet.
    _pass(folded.a, source, source, torch.zeros(source) if block == 1 and begins else -before)
    own = torch.zeros(width) if number == 0 else found[f"{block}.{number}"]
    folded.b.weight[:width] = 0
    folded.b.weight[:width, :source] = teacher.kernels[at]
    folded.b.bias[:width] = teacher.biases[at] + own
    _pass(folded.c, width, width, (total if begins else torch.zeros(width)) - own)
    if folded.shortcut is not None and number == 1:
        _pass(folded.shortcut, width, width, torch.zeros(width))


def _pass(conv: FoldedConv, out: int, width: int, bias: torch.Tensor) -> None:
    """The first ``width`` channels as they are, plus ``bias``."""
    conv.weight[:out] = 0
    conv.weight[torch.arange(width), torch.arange(width)] = 1.0
    conv.bias[:out] = bias


def map_of(found: Offsets, block: int, x: torch.Tensor) -> torch.Tensor:
    """The map that stands for the teacher's of ``block``, from that after the stage which carries its sum."""
    return F.relu(x[:, : WIDTHS[block]].float() - found[str(block)][:, None, None])
