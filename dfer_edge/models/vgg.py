"""VGG16 base, SEFER, CBAMFER and AGFER in training form (paper 002: Arabian et al., Appl. Sci. 2023, 13, 10179)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.vgg import CBAM_KERNEL, FC_WIDTH, STAGES, Architecture, architecture
from dfer_edge.models.guidance import guide, template_mask
from dfer_edge.spec import ModelSpec

GUIDANCE = ("template", "none")
STARTS = ("he", "glorot")


class Conv(nn.Conv2d):
    """k x k convolution, stride 1, padding k // 2; its start is the network's, see :func:`draw`."""

    def __init__(self, channels: int, out: int, kernel: int = 3) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2)


class Linear(nn.Linear):
    """Linear layer; its start is the network's, see :func:`draw`."""


def draw(network: nn.Module, start: str) -> None:
    """Fresh weights with zero bias: ``"he"`` keeps the energy of 16 layers of ReLU, ``"glorot"`` halves it in each.

    Raises
    ------
    InvalidInput
        For another start.
    """
    if start not in STARTS:
        raise InvalidInput(f"expected start out of {', '.join(STARTS)}; got {start!r}")
    for layer in network.modules():
        if isinstance(layer, (Conv, Linear)):
            if start == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for gate in network.modules():
        if isinstance(gate, ResidualGate):
            nn.init.zeros_(gate.spatial2.weight)  # the identity, after the draws that its pair has too


class Stage(nn.Sequential):
    """3x3 convolutions, each with ReLU; no batch norm."""

    def __init__(self, channels: int, out: int, depth: int) -> None:
        super().__init__(*(Conv(channels if layer == 0 else out, out) for layer in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self:
            x = torch.relu(conv(x))
        return x


class ChannelMLP(nn.Module):
    """F2 relu F1: one score a channel, [B, C] -> [B, C], with C/R hidden units, both layers biased."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, channels // reduction)
        self.fc2 = Linear(channels // reduction, channels)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc2(torch.relu(self.fc1(pooled)))
        return scores


class SEGate(nn.Module):
    """x sig(F2 relu F1 GAP(x)), on [B, C, H, W]."""

    def __init__(self, channels: int, arch: Architecture) -> None:
        super().__init__()
        self.channel = ChannelMLP(channels, arch.reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.channel(x.mean((2, 3))))[:, :, None, None]


class CBAMGate(nn.Module):
    """Channel gate from mean and maximum, then spatial gate from the maximum and mean over channels.

    The two MLPs are separate: only so does a site have 17 layers, and the network the 92 that the paper prints.
    """

    def __init__(self, channels: int, arch: Architecture) -> None:
        super().__init__()
        self.average = ChannelMLP(channels, arch.reduction)
        self.maximum = ChannelMLP(channels, arch.reduction)
        self.spatial = Conv(2, 1, CBAM_KERNEL)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.average(x.mean((2, 3))) + self.maximum(x.amax((2, 3)))
        y = x * torch.sigmoid(scores)[:, :, None, None]
        planes = torch.cat([y.amax(1, keepdim=True), y.mean(1, keepdim=True)], 1)  # [B, 2, H, W]
        return y * torch.sigmoid(self.spatial(planes))


class AGGate(nn.Module):
    """x sig(a s) with a by channel and s by pixel, both sigmoids already.

    The third sigmoid is needed for the 13 layers of a site, 80 in all, that the paper prints. It keeps the gate within
    (sigmoid 0, sigmoid 1) = (0.5, 0.7311): it can only weaken, by 27 to 50 %.
    """

    def __init__(self, channels: int, arch: Architecture) -> None:
        super().__init__()
        self.channel = ChannelMLP(channels, arch.reduction)
        self.spatial1 = Conv(1, arch.spatial_channels)
        self.spatial2 = Conv(arch.spatial_channels, 1)

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        """Factors [B, C, H, W] of a feature map of that shape."""
        a = torch.sigmoid(self.channel(x.mean((2, 3))))[:, :, None, None]
        s = torch.sigmoid(self.spatial2(torch.relu(self.spatial1(x.mean(1, keepdim=True)))))  # [B, 1, H, W]
        return torch.sigmoid(a * s)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


class ResidualGate(AGGate):
    """x (1 + tanh(a) tanh(s)) with a by channel and s by pixel.

    Not in the paper: the same layers, but it weakens and strengthens, from 0 to 2, and is the identity where a or s is
    0 (residual attention, Wang et al., CVPR 2017). It begins as that.
    """

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.tanh(self.channel(x.mean((2, 3))))[:, :, None, None]
        s = torch.tanh(self.spatial2(torch.relu(self.spatial1(x.mean(1, keepdim=True)))))  # [B, 1, H, W]
        return 1 + a * s


_GATES = {"se": SEGate, "cbam": CBAMGate, "ag": AGGate, "ag_residual": ResidualGate}


class Head(nn.Module):
    """fc6, fc7, fc8 on the flattened map, channels first; ReLU and dropout after the first two."""

    def __init__(self, features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = Linear(features, FC_WIDTH)
        self.fc7 = Linear(FC_WIDTH, FC_WIDTH)
        self.fc8 = Linear(FC_WIDTH, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.dropout(torch.relu(self.fc6(features)))
        x = self.dropout(torch.relu(self.fc7(x)))
        logits: torch.Tensor = self.fc8(x)
        return logits


class VGG(nn.Module):
    """VGG16 without its last pooling, with a gate before the poolings of stages 2, 3 and 4.

    Input [B, 3, 224, 224], normalised RGB; the size is fixed by fc6. The base with ``num_classes=1000`` and
    ``keep_pool5=True`` is the original VGG16.

    Parameters
    ----------
    spec
        Options: ``gate``, ``reduction``, ``spatial_channels``, ``keep_pool5``; see
        :class:`dfer_edge.inference.vgg.Architecture` for each with its reason.
    dropout
        After fc6 and fc7; 0.5, as in VGG16.
    guidance
        Mask applied in training mode when none is passed: ``"template"``, the fixed one of
        :func:`~dfer_edge.models.guidance.template_mask`, or ``"none"``.
    start
        Fresh weights: ``"he"``, or ``"glorot"``, the default of MATLAB, from which the printed recipe does not move.

    Raises
    ------
    InvalidInput
        For an option that the network cannot have.
    """

    mask: torch.Tensor

    def __init__(self, spec: ModelSpec, dropout: float = 0.5, guidance: str = "template", start: str = "he") -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InvalidInput(f"expected dropout in [0, 1), got {dropout!r}")
        if guidance not in GUIDANCE:
            raise InvalidInput(f"expected guidance out of {', '.join(GUIDANCE)}; got {guidance!r}")
        self.spec, self.guidance, self.arch = spec, guidance, architecture(spec)
        stages: list[nn.Module] = []
        gates: list[nn.Module] = []
        channels = 3
        for depth, out, gated in STAGES:
            stages.append(Stage(channels, out, depth))
            gates.append(
                _GATES[self.arch.gate](out, self.arch) if gated and self.arch.gate in _GATES else nn.Identity()
            )
            channels = out
        self.stages, self.gates = nn.ModuleList(stages), nn.ModuleList(gates)
        self.head = Head(self.arch.features, spec.num_classes, dropout)
        draw(self, start)
        # Not part of the state: weights files hold what inference needs.
        self.register_buffer("mask", torch.as_tensor(template_mask(spec.size)), persistent=False)

    def forward_features(self, image: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Feature map [B, 512, H / 16, W / 16] (H / 32 with pool5) of images [B, 3, H, W]; ``mask`` as in forward."""
        x = self._guided(image, mask) if self.training else image
        for index, (stage, gate) in enumerate(zip(self.stages, self.gates, strict=True)):
            x = gate(stage(x))
            if index < len(STAGES) - 1 or self.arch.keep_pool5:
                x = functional.max_pool2d(x, 2)
        return x

    def _guided(self, image: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        if mask is None and self.guidance == "none":
            return image
        return guide(image, self.mask if mask is None else mask)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of a feature map."""
        logits: torch.Tensor = self.head(features.flatten(1))
        return logits

    def forward(self, image: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [B, K] of normalised images [B, 3, H, W].

        ``mask``, [B, 1, H, W] of 0 and 1, replaces the template in training mode (see
        :func:`~dfer_edge.models.guidance.hull_mask`). In evaluation mode the image is used as it is.
        """
        return self.forward_head(self.forward_features(image, mask))


def create(spec: ModelSpec, dropout: float = 0.5, guidance: str = "template", start: str = "he") -> VGG:
    """The training form of ``spec``; options are those of :class:`VGG`."""
    return VGG(spec, dropout, guidance, start)


def public_keys() -> dict[str, str]:
    """Own key -> key of torchvision's ``vgg16`` state dict, for every tensor that both have.

    fc6 fits in shape only with ``keep_pool5``: without it the network flattens 14 x 14 pixels instead of 7 x 7.
    """
    layers, position = {}, 0
    for stage, (depth, *_) in enumerate(STAGES):
        for layer in range(depth):
            layers[f"stages.{stage}.{layer}"] = f"features.{position}"
            position += 2  # convolution and ReLU
        position += 1  # pooling
    layers |= {"head.fc6": "classifier.0", "head.fc7": "classifier.3", "head.fc8": "classifier.6"}
    return {f"{own}.{kind}": f"{public}.{kind}" for own, public in layers.items() for kind in ("weight", "bias")}
