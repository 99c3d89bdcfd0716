"""SlowR50 on single images: 2-D, norms folded, middle taps alone. What the transplant writes and trains."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models.slowr50 import FEATURES, AttentionHead, Bottleneck, PlainHead, SlowR50


class FoldedConv(nn.Module):
    """A convolution with its norm folded in, of the middle temporal tap."""

    def __init__(self, conv: nn.Conv3d, norm: nn.BatchNorm3d) -> None:
        super().__init__()
        mean, variance = _statistics(norm)
        middle = conv.weight.detach()[:, :, conv.weight.shape[2] // 2]
        gain = (norm.weight / (variance + norm.eps).sqrt()).detach()
        self.weight = nn.Parameter((middle * gain[:, None, None, None]).contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter((norm.bias - mean * gain).detach().clone())
        self.stride, self.padding = conv.stride[1], int(conv.padding[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    @torch.no_grad()
    def write(self, conv: nn.Conv3d, norm: nn.BatchNorm3d) -> None:
        """Into the printed layers: the norm becomes the identity plus the bias, outer taps zero."""
        conv.weight.zero_()
        conv.weight[:, :, conv.weight.shape[2] // 2] = self.weight
        write_norm(norm, self.bias)


@torch.no_grad()
def write_norm(norm: nn.BatchNorm2d | nn.BatchNorm3d, bias: torch.Tensor | None) -> None:
    """The norm becomes the identity plus ``bias``."""
    mean, variance = _statistics(norm)
    mean.zero_()
    variance.fill_(1 - norm.eps)
    norm.weight.fill_(1.0)
    norm.bias.zero_()
    if bias is not None:
        norm.bias.copy_(bias)


def bias_of(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> torch.Tensor:
    """The bias of a layer that has one."""
    if layer.bias is None:
        raise InvalidInput("expected a layer with a bias")
    return layer.bias


@torch.no_grad()
def centre(conv: nn.Conv2d, out: int, source: int, count: int) -> None:
    """Let ``count`` channels from ``source`` on pass to those from ``out`` on, at the kernel's middle."""
    y, x = conv.weight.shape[2] // 2, conv.weight.shape[3] // 2
    conv.weight[torch.arange(out, out + count), torch.arange(source, source + count), y, x] = 1.0


def _statistics(norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[torch.Tensor, torch.Tensor]:
    """Running mean and variance, the tensors themselves."""
    buffers = dict(norm.named_buffers())
    return buffers["running_mean"], buffers["running_var"]


class FoldedBlock(nn.Module):
    """A bottleneck of folded convolutions."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.a, self.b, self.c = (FoldedConv(*pair) for pair in _pairs(block))
        self.shortcut = FoldedConv(block.shortcut_conv, block.shortcut_norm) if block.project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(identity + self.c(torch.relu(self.b(torch.relu(self.a(x))))))


def _blocks(stage: nn.Module) -> list[Bottleneck]:
    return [block for block in stage.children() if isinstance(block, Bottleneck)]


def _pairs(block: Bottleneck) -> list[tuple[nn.Conv3d, nn.BatchNorm3d]]:
    return [(block.conv_a, block.norm_a), (block.conv_b, block.norm_b), (block.conv_c, block.norm_c)]


class ImageSlowR50(nn.Module):
    """The trunk of a SlowR50 in evaluation mode and one linear layer, on images [B, 3, H, W]."""

    def __init__(self, network: SlowR50) -> None:
        super().__init__()
        self.stem = FoldedConv(network.stem.conv, network.stem.norm)
        self.stages = nn.ModuleList(
            nn.Sequential(*(FoldedBlock(b) for b in _blocks(stage))) for stage in network.stages
        )
        self.classifier = nn.Linear(FEATURES, network.spec.num_classes)

    def first(self, images: torch.Tensor) -> torch.Tensor:
        """The map after res2, [B, 256, H / 4, W / 4]."""
        x = torch.relu(self.stem(images.contiguous(memory_format=torch.channels_last)))
        y: torch.Tensor = self.stages[0](F.max_pool2d(x, 3, 2, 1))
        return y

    def rest(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps after res3, res4 and res5."""
        maps = []
        for stage in list(self.stages)[1:]:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of normalised images."""
        logits: torch.Tensor = self.classifier(self.rest(self.first(images))[-1].float().mean((2, 3)))
        return logits

    @torch.no_grad()
    def write(self, network: SlowR50, width: int) -> None:
        """Into a network in training form; its classifier reads the first ``width`` features, all others nothing."""
        self.stem.write(network.stem.conv, network.stem.norm)
        for stage, printed in enumerate(network.stages):
            for mine, block in zip(self.blocks(stage), _blocks(printed), strict=True):
                for own, pair in zip((mine.a, mine.b, mine.c), _pairs(block), strict=True):
                    own.write(*pair)
                if mine.shortcut is not None:
                    mine.shortcut.write(block.shortcut_conv, block.shortcut_norm)
        head = network.head
        if not isinstance(head, (AttentionHead, PlainHead)):
            raise InvalidInput(f"expected a head of SlowR50, got {type(head).__name__}")
        for parameter in head.parameters():
            parameter.zero_()
        if isinstance(head, AttentionHead):
            # Features are rectified already: through the ReLU of the hidden layer they pass as they are.
            diagonal = torch.arange(width)
            head.fc.weight[diagonal, diagonal] = 1.0
            head.attention.in_proj_weight[-head.fc.in_features :].fill_diagonal_(1.0)
        head.classifier.weight[:, :width] = self.classifier.weight[:, :width]
        head.classifier.bias.copy_(self.classifier.bias)

    def blocks(self, stage: int) -> list[FoldedBlock]:
        """The bottlenecks of res2 (0) to res5 (3)."""
        return [block for block in self.stages[stage].children() if isinstance(block, FoldedBlock)]
