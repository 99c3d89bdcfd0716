"""The teacher in the ResNet-18 of keypoint_tsa, ``last_strides`` (2, 1): block 3 exactly in layer3 and layer4.

Stem and layer1 learn block 1, layer2 learns block 2: their 64 and 128 channels leave no room for a running sum beside
what a convolution reads. Layer3 and layer4 have it, as in :mod:`.r2plus1d`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models.keypoint import Backbone, BasicBlock
from dfer_edge.training.transplant.exact import Offsets
from dfer_edge.training.transplant.images import bias_of, centre, write_norm
from dfer_edge.training.transplant.teacher import WIDTHS, Teacher

LAST_STRIDES = (2, 1)


class ImageBasic(nn.Module):
    """A basic block, norms folded."""

    def __init__(self, printed: BasicBlock) -> None:
        super().__init__()
        a = printed.conv_a
        self.a = nn.Conv2d(a.in_channels, a.out_channels, 3, a.stride[0], 1)
        self.b = nn.Conv2d(a.out_channels, a.out_channels, 3, 1, 1)
        self.shortcut = nn.Conv2d(a.in_channels, a.out_channels, 1, a.stride[0]) if printed.project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(identity + self.b(torch.relu(self.a(x))))

    @torch.no_grad()
    def write(self, printed: BasicBlock) -> None:
        """Into the printed block."""
        for own, conv, norm in ((self.a, printed.conv_a, printed.norm_a), (self.b, printed.conv_b, printed.norm_b)):
            conv.weight.copy_(own.weight)
            write_norm(norm, own.bias)
        if self.shortcut is not None:
            printed.shortcut_conv.weight.copy_(self.shortcut.weight)
            write_norm(printed.shortcut_norm, self.shortcut.bias)


class ImageResNet18(nn.Module):
    """The backbone of keypoint_tsa and one linear layer, on images [B, 3, H, W]."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ImageBasic(b) for b in _blocks(stage))) for stage in backbone.stages
        )
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def first(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The maps after layer1 and layer2, [B, 64, H / 4, W / 4] and [B, 128, H / 8, W / 8]."""
        low = self.stages[0](F.max_pool2d(torch.relu(self.stem(images)), 3, 2, 1))
        return low, self.stages[1](low)

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """The map after layer4, [B, 512, H / 16, W / 16], of that after layer2."""
        y: torch.Tensor = self.stages[3](self.stages[2](x))
        return y

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of normalised images: of the mean of the first 256 channels."""
        pooled = self.last(self.first(images)[1]).float().mean((2, 3))
        logits: torch.Tensor = self.classifier(pooled[:, : WIDTHS[-1]])
        return logits

    def block(self, stage: int, number: int) -> ImageBasic:
        """A block of layer1 (0) to layer4 (3)."""
        found = list(self.stages[stage].children())[number]
        if not isinstance(found, ImageBasic):
            raise InvalidInput(f"expected a basic block, got {type(found).__name__}")
        return found

    @torch.no_grad()
    def write(self, backbone: Backbone) -> None:
        """Into a backbone in training form."""
        backbone.stem_conv.weight.copy_(self.stem.weight)
        write_norm(backbone.stem_norm, self.stem.bias)
        for stage, printed in enumerate(backbone.stages):
            for number, block in enumerate(_blocks(printed)):
                self.block(stage, number).write(block)


def _blocks(stage: nn.Module) -> list[BasicBlock]:
    return [block for block in stage.children() if isinstance(block, BasicBlock)]


@torch.no_grad()
def write_exact(images: ImageResNet18, teacher: Teacher, found: Offsets) -> None:
    """Write block 3 into layer3 and layer4, whose first 256 channels then are its map.

    The second 256 are what its last convolution reads, kept because they cost nothing.

    Raises
    ------
    InvalidInput
        If layer3 keeps the size of the map.
    """
    if images.block(2, 0).a.stride[0] != LAST_STRIDES[0] or images.block(3, 0).a.stride[0] != LAST_STRIDES[1]:
        raise InvalidInput(f"expected last_strides {LAST_STRIDES}")
    for stage in (2, 3):
        for parameter in images.stages[stage].parameters():
            parameter.zero_()
    width, before = WIDTHS[3], WIDTHS[2]
    one, three, total = (found[name] for name in ("3.1", "3.3", "3"))
    first = images.block(2, 0)  # s_1
    first.a.weight[:, :before] = teacher.kernels[12]
    bias_of(first.a).copy_(teacher.biases[12])
    centre(first.b, 0, 0, width)
    second = images.block(2, 1)  # s_2 + B
    second.a.weight.copy_(teacher.kernels[13])
    bias_of(second.a).copy_(teacher.biases[13] + one)
    centre(second.b, 0, 0, width)
    bias_of(second.b).copy_(total - one)
    third = images.block(3, 0)  # s_3 + B, relu(s_3)
    if third.shortcut is None:
        raise InvalidInput("expected a projection in layer4")
    for copy, lift in ((0, torch.zeros(width)), (width, -total)):
        centre(third.shortcut, copy, 0, width)
        bias_of(third.shortcut)[copy : copy + width] = lift
        third.b.weight[copy : copy + width, :width] = teacher.kernels[14]
        bias_of(third.b)[copy : copy + width] = teacher.biases[14]
    centre(third.a, 0, 0, width)
    bias_of(third.a)[:width] = -total
    fourth = images.block(3, 1)  # s_4
    fourth.a.weight[:width, width:] = teacher.kernels[15]
    bias_of(fourth.a)[:width] = teacher.biases[15] + three
    centre(fourth.b, 0, 0, width)
    bias_of(fourth.b)[:width] = -three - total
