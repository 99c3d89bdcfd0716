"""The teacher in R(2+1)D-18-STA: blocks 0 and 1 exactly in stem, layer1 and layer2; layer3 learns blocks 2 and 3.

A residual block here has two convolutions and an addition, the teacher adds after each of four. Channels therefore
carry two things side by side: what the next convolution reads (rectified), and the running sum with an offset that
keeps it above 0, as in :mod:`.exact`. The pointwise half of a (2+1)D convolution adds them up.

Layer3's maps have 14 places a side, the teacher's last block 7: it has no exact place. The attention over time is a
softmax over the frames' distance from neutral, the same as SlowR50's ``pooling="apex"``.
"""

from __future__ import annotations

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.r2plus1d import FEATURES
from dfer_edge.models.r2plus1d import Conv2Plus1D, R2Plus1D, ResidualBlock
from dfer_edge.training.transplant.clips import away_from_neutral
from dfer_edge.training.transplant.exact import Offsets
from dfer_edge.training.transplant.images import bias_of, centre, write_norm
from dfer_edge.training.transplant.teacher import WIDTHS, Teacher

# Weight of the attention beside the plain features: their mean over time is then a thirty-first of what is read.
GAMMA = 30.0


class ImageConv(nn.Module):
    """A (2+1)D convolution on images: k x k, ReLU, pointwise; norms folded."""

    def __init__(self, printed: Conv2Plus1D) -> None:
        super().__init__()
        space = printed.spatial
        self.spatial = nn.Conv2d(
            space.in_channels, space.out_channels, space.kernel_size[1], space.stride[1], int(space.padding[1])
        )
        self.pointwise = nn.Conv2d(space.out_channels, printed.temporal.out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.pointwise(torch.relu(self.spatial(x)))
        return y

    @torch.no_grad()
    def write(self, printed: Conv2Plus1D, tap: int) -> None:
        """Into the printed layers; ``tap`` of the three temporal ones gets the pointwise kernel, the others nothing."""
        printed.spatial.weight.copy_(self.spatial.weight[:, :, None])
        write_norm(printed.spatial_norm, self.spatial.bias)
        printed.temporal.weight.zero_()
        printed.temporal.weight[:, :, tap, 0, 0] = self.pointwise.weight[:, :, 0, 0]
        write_norm(printed.temporal_norm, self.pointwise.bias)


class ImageResidual(nn.Module):
    """A residual block on images."""

    def __init__(self, printed: ResidualBlock) -> None:
        super().__init__()
        self.a, self.b = ImageConv(printed.conv_a), ImageConv(printed.conv_b)
        self.shortcut: nn.Conv2d | None = None
        if printed.project:
            conv = printed.shortcut_conv
            self.shortcut = nn.Conv2d(conv.in_channels, conv.out_channels, 1, conv.stride[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(identity + self.b(torch.relu(self.a(x))))

    @torch.no_grad()
    def write(self, printed: ResidualBlock, tap: int) -> None:
        """Into the printed block, ``tap`` in its first convolution."""
        self.a.write(printed.conv_a, tap)
        self.b.write(printed.conv_b, 1)
        if self.shortcut is not None:
            printed.shortcut_conv.weight.copy_(self.shortcut.weight[:, :, None])
            write_norm(printed.shortcut_norm, self.shortcut.bias)


class ImageR2Plus1D(nn.Module):
    """The trunk of an R(2+1)D-18-STA and one linear layer, on images [B, 3, H, W]."""

    def __init__(self, network: R2Plus1D) -> None:
        super().__init__()
        self.stem = ImageConv(network.stem)
        self.stages = nn.ModuleList(nn.Sequential(*(ImageResidual(b) for b in _blocks(s))) for s in network.stages)
        self.classifier = nn.Linear(FEATURES, network.spec.num_classes)

    def first(self, images: torch.Tensor) -> torch.Tensor:
        """The map after layer2, [B, 128, H / 4, W / 4]; its second half is the teacher's block 1."""
        x = torch.relu(self.stem(images))
        y: torch.Tensor = self.stages[1](self.stages[0](x))
        return y

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """The map after layer3, [B, 256, H / 8, W / 8], of that after layer2."""
        y: torch.Tensor = self.stages[2](x)
        return y

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of normalised images."""
        logits: torch.Tensor = self.classifier(self.last(self.first(images)).float().mean((2, 3)))
        return logits

    def block(self, stage: int, number: int) -> ImageResidual:
        """A block of layer1 (0) to layer3 (2)."""
        found = list(self.stages[stage].children())[number]
        if not isinstance(found, ImageResidual):
            raise InvalidInput(f"expected a residual block, got {type(found).__name__}")
        return found

    @torch.no_grad()
    def write(self, network: R2Plus1D, apex: float) -> None:
        """Into a network in training form.

        Of the taps in time all are the middle ones but in layer2's first convolution, which halves the frames and
        takes the later of two: of 16 frames numbers 1, 5, 9 and 13 are read. ``apex`` is how much a frame counts for
        less the more neutral it is.

        Raises
        ------
        InvalidInput
            If the network's attention has a map per place (``att_share=False``) or its classifier reads places.
        """
        options = network.spec.options
        if not options["att_share"] or options["att_scale"] or options["classifier_input"] != "pooled":
            raise InvalidInput(f"expected att_share, no att_scale, pooled features; got {dict(options)}")
        self.stem.write(network.stem, 1)
        for stage, printed in enumerate(network.stages):
            for number, block in enumerate(_blocks(printed)):
                self.block(stage, number).write(block, 2 if (stage, number) == (1, 0) else 1)
        for parameter in network.attention.parameters():
            parameter.zero_()
        side = -(-network.spec.size // 8)
        neutral, kinds = network.spec.labels.index("neutral"), network.spec.num_classes
        away = away_from_neutral(kinds, neutral, apex)
        time = network.attention.time
        bias_of(time.query)[0] = 1.0
        time.key.weight[0, :, 0, 0, 0] = away @ self.classifier.weight / side**2
        time.value.weight[torch.arange(FEATURES), torch.arange(FEATURES)] = 1.0
        network.attention.gamma.fill_(GAMMA)
        network.classifier.weight.copy_(self.classifier.weight / (1 + GAMMA))
        bias_of(network.classifier).copy_(self.classifier.bias)


def _blocks(stage: nn.Module) -> list[ResidualBlock]:
    return [block for block in stage.children() if isinstance(block, ResidualBlock)]


@torch.no_grad()
def write_exact(images: ImageR2Plus1D, teacher: Teacher, found: Offsets) -> None:
    """Write blocks 0 and 1 into stem, layer1 and layer2; channels 64 to 127 after layer2 then are block 1's map."""
    for part in (images.stem, images.stages[0], images.stages[1]):
        for parameter in part.parameters():
            parameter.zero_()
    width = WIDTHS[0]
    images.stem.spatial.weight[:width, :, 2:5, 2:5] = teacher.kernels[0]
    bias_of(images.stem.spatial)[:width] = teacher.biases[0]
    for copy in (0, width):
        centre(images.stem.pointwise, copy, 0, width)
    _first_half(images.block(0, 0), teacher, found, 0, width)
    _second_half(images.block(0, 1), teacher, found, 0, width)
    _stage_of_block_1(images, teacher, found)


def _first_half(block: ImageResidual, teacher: Teacher, found: Offsets, at: int, width: int) -> None:
    """Of the first sum, twice, to [what convolution 3 reads, s_3 + B]."""
    one, two, total = found[f"{at}.1"], found[f"{at}.2"], found[str(at)]
    a, b = block.a, block.b
    _convolution(a, teacher, 4 * at + 1, one, width, source=0)
    centre(a.spatial, width, 0, width)  # s_1
    centre(a.pointwise, 0, 0, width)
    centre(a.pointwise, 0, width, width)  # relu(s_2), what convolution 2 reads
    bias_of(a.pointwise)[:width] = -one
    centre(a.pointwise, width, 0, width)  # the output of convolution 1 + its offset
    _convolution(b, teacher, 4 * at + 2, two, width, source=0)
    centre(b.spatial, width, width, width)
    for copy in (0, width):
        centre(b.pointwise, copy, 0, width)
        centre(b.pointwise, copy, width, width)
        bias_of(b.pointwise)[copy : copy + width] = -one - two
    bias_of(b.pointwise)[width : 2 * width] += total


def _second_half(block: ImageResidual, teacher: Teacher, found: Offsets, at: int, width: int) -> None:
    """Of [what convolution 3 reads, s_3 + B] to the block's map, in the second half."""
    three, total = found[f"{at}.3"], found[str(at)]
    _convolution(block.a, teacher, 4 * at + 3, three, width, source=0)
    centre(block.a.pointwise, 0, 0, width)
    centre(block.b.spatial, 0, 0, width)
    centre(block.b.pointwise, width, 0, width)
    bias_of(block.b.pointwise)[width : 2 * width] = -three - total


def _stage_of_block_1(images: ImageR2Plus1D, teacher: Teacher, found: Offsets) -> None:
    width, before = WIDTHS[1], WIDTHS[0]
    one, two, three, total = (found[name] for name in ("1.1", "1.2", "1.3", "1"))
    block = images.block(1, 0)
    block.a.spatial.weight[:width, before : 2 * before] = teacher.kernels[4]
    bias_of(block.a.spatial)[:width] = teacher.biases[4]
    centre(block.a.pointwise, 0, 0, width)
    _convolution(block.b, teacher, 5, one, width, source=0)
    centre(block.b.spatial, width, 0, width)
    for copy in (0, width):
        centre(block.b.pointwise, copy, 0, width)
        centre(block.b.pointwise, copy, width, width)
        bias_of(block.b.pointwise)[copy : copy + width] = -one
    bias_of(block.b.pointwise)[width : 2 * width] += total
    block = images.block(1, 1)
    _convolution(block.a, teacher, 6, two, width, source=0)
    centre(block.a.spatial, width, width, width)
    centre(block.a.pointwise, 0, 0, width)
    centre(block.a.pointwise, 0, width, width)
    bias_of(block.a.pointwise)[:width] = -two - total
    centre(block.a.pointwise, width, 0, width)
    _convolution(block.b, teacher, 7, three, width, source=0)
    centre(block.b.spatial, width, width, width)
    centre(block.b.pointwise, width, 0, width)
    centre(block.b.pointwise, width, width, width)
    bias_of(block.b.pointwise)[width : 2 * width] = -three - two - total


def _convolution(conv: ImageConv, teacher: Teacher, at: int, offset: torch.Tensor, width: int, source: int) -> None:
    """Convolution ``at`` of 16 in the first channels of the spatial half, lifted by its offset."""
    conv.spatial.weight[:width] = 0
    conv.spatial.weight[:width, source : source + width] = teacher.kernels[at]
    bias_of(conv.spatial)[:width] = teacher.biases[at] + offset
