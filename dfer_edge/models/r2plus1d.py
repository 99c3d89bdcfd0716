"""R(2+1)D-18 with spatio-temporal attention and sparse centre loss, training form.

Paper 004: Singh et al., 3D-CNN deep features discrimination, doi 10.5281/zenodo.777609; models.md section 5.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.r2plus1d import FEATURES, QUERY_WIDTH, STAGES, STEM, blocks, mid_channels
from dfer_edge.models.backbone import norm_keys
from dfer_edge.spec import ModelSpec


class Conv2Plus1D(nn.Module):
    """1 x k x k convolution, batch norm, ReLU, 3 x 1 x 1 convolution, batch norm; bias-free."""

    def __init__(self, channels: int, mid: int, out: int, kernel: int = 3, strides: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        space, time = strides
        pad = kernel // 2
        self.spatial = nn.Conv3d(channels, mid, (1, kernel, kernel), (1, space, space), (0, pad, pad), bias=False)
        self.spatial_norm = nn.BatchNorm3d(mid)
        self.temporal = nn.Conv3d(mid, out, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False)
        self.temporal_norm = nn.BatchNorm3d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.spatial_norm(self.spatial(x)))
        y: torch.Tensor = self.temporal_norm(self.temporal(x))
        return y


class ResidualBlock(nn.Module):
    """Two (2+1)D convolutions of one mid width; the first has the stride, in space and then in time."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        mid = mid_channels(channels, out)
        self.conv_a = Conv2Plus1D(channels, mid, out, strides=(stride, stride))
        self.conv_b = Conv2Plus1D(out, mid, out)
        self.project = channels != out
        if self.project:
            self.shortcut_conv = nn.Conv3d(channels, out, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm3d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = self.shortcut_norm(self.shortcut_conv(x)) if self.project else x
        return torch.relu(identity + self.conv_b(torch.relu(self.conv_a(x))))


class AxisAttention(nn.Module):
    """Dot-product attention among the places of each frame (``space``) or the frames of each place (``time``)."""

    def __init__(self, axis: str, share: bool, scale: bool) -> None:
        super().__init__()
        self.query = nn.Conv3d(FEATURES, QUERY_WIDTH, 1)
        self.key = nn.Conv3d(FEATURES, QUERY_WIDTH, 1)
        self.value = nn.Conv3d(FEATURES, FEATURES, 1)
        # Tokens are [B, G, N, C]: G groups that attend apart, N tokens in each.
        self.order = (0, 2, 3, 1) if axis == "space" else (0, 3, 2, 1)
        self.share = share
        self.scale = QUERY_WIDTH**-0.5 if scale else 1.0

    def attention_map(self, f: torch.Tensor) -> torch.Tensor:
        """Rows sum to 1: [B, G, N, N], or [B, 1, N, N] if shared; fp32 or wider, under autocast too."""
        q, k = (conv(f).flatten(3).permute(self.order) for conv in (self.query, self.key))
        if self.share:
            q, k = (x.transpose(1, 2).flatten(2).unsqueeze(1) for x in (q, k))
        wide = torch.promote_types(q.dtype, torch.float32)
        with _without_autocast(f.device.type):
            attention: torch.Tensor = torch.softmax(self.scale * (q.to(wide) @ k.to(wide).transpose(2, 3)), -1)
        return attention

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        """[B, 256, T, H, W] -> the same shape."""
        values = self.value(f).flatten(3).permute(self.order)
        attended: torch.Tensor = self.attention_map(f).to(values.dtype) @ values
        back = [self.order.index(axis) for axis in range(4)]
        return attended.permute(back).reshape(f.shape)


def _without_autocast(device: str) -> contextlib.AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(device):
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)


class SpatioTemporalAttention(nn.Module):
    """p = f + gamma (s + d), with s from attention over space and d over time, each with its own projections."""

    def __init__(self, share: bool, scale: bool, gamma: float) -> None:
        super().__init__()
        self.space = AxisAttention("space", share, scale)
        self.time = AxisAttention("time", share, scale)
        self.gamma = nn.Parameter(torch.full((1,), float(gamma)))

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        p: torch.Tensor = f + self.gamma * (self.space(f) + self.time(f))
        return p


class SparseCenterLoss(nn.Module):
    """Deep attentive centre loss on the pooled features, with a weight per feature and sample.

    FC1 to FC3 read the flattened feature map p, or its mean (ours: 1.7 of 412 M parameters); a pair of logits per
    feature, softmax over the pair and its second member give the weights w in 0..1. With fp the mean of p over time and
    space and c the learned centres, ``loss = sum over batch and features of w (fp - c_y)^2 / (2 batch)``. Eq. 4 of the
    paper is garbled; this is the form of DACL (Farzaneh and Qi, WACV 2021), which it cites. The centres are learned
    with an SGD of their own: give ``centers`` a parameter group.

    Parameters
    ----------
    inputs
        Elements of p per sample, 256 T H W; 256 reads the mean of p.
    num_classes
        Number of centres.
    widths
        Of FC1 to FC3.
    """

    def __init__(self, inputs: int, num_classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        activations = (nn.ReLU(), nn.ReLU(), nn.Tanh())
        for before, width, activation in zip((inputs, *widths[:-1]), widths, activations, strict=True):
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), activation]
        self.context = nn.Sequential(*layers)
        self.pairs = nn.Linear(widths[-1], 2 * FEATURES)
        self.centers = nn.Parameter(torch.randn(num_classes, FEATURES))

    def weights(self, p: torch.Tensor) -> torch.Tensor:
        """w [B, 256] of a feature map p [B, 256, T, H, W]."""
        read = p.mean((2, 3, 4)) if self.context[0].in_features == FEATURES else p.flatten(1)
        pairs = self.pairs(self.context(read)).unflatten(1, (FEATURES, 2))
        return torch.softmax(pairs, -1)[..., 1]

    def forward(self, p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss, a scalar; labels [B] int64."""
        distance = p.mean((2, 3, 4)) - self.centers[labels]
        return (self.weights(p) * distance.square()).sum() / (2 * len(p))


class R2Plus1D(nn.Module):
    """R(2+1)D-18 cut after layer3, attention over space and time, mean head; the sparse centre loss in training.

    Input [B, 3, 16, 112, 112], normalised RGB. Cut after layer3, because the paper's 256 feature weights need a
    256-channel map and the whole trunk costs more MACs than it prints. Pre-training: the paper says ImageNet; what
    exists is Kinetics-400, see :func:`public_keys`.

    Parameters
    ----------
    spec
        ``options["att_share"]``: False, the 196 places of each frame attend among themselves, as do the 4 frames of
        each place. True is the other reading of equal MACs: one map over space and one over time, of features
        flattened over the other axis.
        ``options["att_scale"]``: False, the paper prints no 1 / sqrt(32) on the scores.
        ``options["classifier_input"]``: ``"pooled"``, the mean of p over time and space, which the loss reads too.
        ``"flatten"`` is the literal "flatten layer to the final FC": 1.4 M parameters and a fixed input size.
    gamma
        Start value of the attention's weight; 0 as in SAGAN, which the paper follows.
    loss_branch
        True for training. False leaves out the sparse centre loss and its 412 M parameters (1.6 GB), which no logit
        reads.
    loss_widths
        Of FC1 to FC3. Not printed; the printed MACs allow FC1 from about 1.1 k to 3.1 k.
    center_weight
        Of the sparse centre loss beside the cross-entropy; Eq. 6 has none, so 1. DACL uses 0.01.
    loss_input
        What FC1 reads: ``"map"``, the flattened features as printed, or ``"pooled"``, their mean: the branch is then
        1.7 M parameters, not 98 % of the network.
    centre_reads
        Features of the centre loss: ``"p"``, after the attention, as the classifier's; or ``"f"``, before it, which the
        text can be read as too ("extracted features f from the encoder").
    cross_entropy
        ``"softmax"``. ``"binary"`` is Eq. 5 as printed, one against the rest, averaged over classes.

    Raises
    ------
    InvalidInput
        For a value outside of these.
    """

    def __init__(
        self,
        spec: ModelSpec,
        gamma: float = 0.0,
        loss_branch: bool = False,
        loss_widths: Sequence[int] = (2048, 512, 64),
        center_weight: float = 1.0,
        cross_entropy: str = "softmax",
        loss_input: str = "map",
        centre_reads: str = "p",
    ) -> None:
        super().__init__()
        _check(spec, loss_widths, center_weight, cross_entropy)
        for name, value, known in (("loss_input", loss_input, ("map", "pooled")), ("centre_reads", centre_reads, "pf")):
            if value not in tuple(known):
                raise InvalidInput(f"expected {name} {' or '.join(known)}, got {value!r}")
        self.centre_reads = centre_reads
        self.spec, self.center_weight, self.cross_entropy = spec, center_weight, cross_entropy
        self.stem = Conv2Plus1D(3, *STEM, kernel=7, strides=(2, 1))
        layers = [ResidualBlock(channels, out, stride) for _, channels, out, stride in blocks()]
        per_stage = len(layers) // len(STAGES)
        stages = (nn.Sequential(*layers[start : start + per_stage]) for start in range(0, len(layers), per_stage))
        self.stages = nn.Sequential(*stages)
        options = spec.options
        self.attention = SpatioTemporalAttention(bool(options["att_share"]), bool(options["att_scale"]), gamma)
        inputs = math.prod(feature_shape(spec))
        self.pooled = options["classifier_input"] == "pooled"
        self.classifier = nn.Linear(FEATURES if self.pooled else inputs, spec.num_classes)
        read = FEATURES if loss_input == "pooled" else inputs
        self.loss_branch = SparseCenterLoss(read, spec.num_classes, loss_widths) if loss_branch else None

    def trunk(self, clip: torch.Tensor) -> torch.Tensor:
        """Feature map f [B, 256, T / 4, H / 8, W / 8] (rounded up), before the attention."""
        f: torch.Tensor = self.stages(torch.relu(self.stem(clip)))
        return f

    def forward_features(self, clip: torch.Tensor) -> torch.Tensor:
        """Feature map p of the shape of f, after the attention, of a clip [B, 3, T, H, W]."""
        p: torch.Tensor = self.attention(self.trunk(clip))
        return p

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of a feature map p."""
        logits: torch.Tensor = self.classifier(features.mean((2, 3, 4)) if self.pooled else features.flatten(1))
        return logits

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of a normalised clip [B, 3, T, H, W]."""
        return self.forward_head(self.forward_features(clip))

    def sparse_center_loss(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Unweighted sparse centre loss, a scalar, of p [B, 256, T, H, W] and labels [B]; see its class.

        Raises
        ------
        InvalidInput
            If the network was made without its loss branch; for features of another size than the spec's.
        """
        if self.loss_branch is None:
            raise InvalidInput("expected a network with its loss branch", "create_model(..., loss_branch=True)")
        if tuple(features.shape[1:]) != feature_shape(self.spec):
            raise InvalidInput(f"expected features [B, *{feature_shape(self.spec)}], got {tuple(features.shape)}")
        if labels.shape != features.shape[:1]:
            raise InvalidInput(f"expected {len(features)} labels, one per sample, got shape {tuple(labels.shape)}")
        loss: torch.Tensor = self.loss_branch(features, labels)
        return loss

    def training_loss(self, clip: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Eq. 6: cross-entropy plus the weighted sparse centre loss, in one forward pass."""
        encoded = self.trunk(clip)
        features = self.attention(encoded)
        logits = self.forward_head(features)
        if self.cross_entropy == "softmax":
            loss = F.cross_entropy(logits, labels)
        else:
            loss = binary_cross_entropy(logits, labels)
        read = encoded if self.centre_reads == "f" else features
        return loss + self.center_weight * self.sparse_center_loss(read, labels)


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Eq. 5 as printed, a scalar: one class against the rest, averaged over classes; logits [B, K], labels [B]."""
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).to(logits))


def feature_shape(spec: ModelSpec) -> tuple[int, int, int, int]:
    """Shape of f and p, [256, T / 4, H / 8, W / 8] rounded up, for the input size of ``spec``."""
    stride = math.prod(stride for _, stride in STAGES)
    side = -(-spec.size // (2 * stride))  # the stem halves space only
    return FEATURES, -(-spec.frames // stride), side, side


def _check(spec: ModelSpec, widths: Sequence[int], center_weight: float, cross_entropy: str) -> None:
    for name in ("att_share", "att_scale"):
        if not isinstance(spec.options[name], bool):
            raise InvalidInput(f"expected {name} True or False, got {spec.options[name]!r}")
    if spec.options["classifier_input"] not in ("pooled", "flatten"):
        raise InvalidInput(f"expected classifier_input pooled or flatten, got {spec.options['classifier_input']!r}")
    if cross_entropy not in ("softmax", "binary"):
        raise InvalidInput(f"expected cross_entropy softmax or binary, got {cross_entropy!r}")
    if len(widths) != 3 or not all(isinstance(width, int) and width > 0 for width in widths):
        raise InvalidInput(f"expected loss_widths of three positive integers, got {widths!r}")
    if not 0 <= center_weight < math.inf:
        raise InvalidInput(f"expected center_weight of at least 0, got {center_weight!r}")


_OPTIONS = ("gamma", "loss_branch", "loss_widths", "center_weight", "cross_entropy", "loss_input", "centre_reads")


def create(spec: ModelSpec, **options: Any) -> R2Plus1D:
    """The training form of ``spec``; ``options`` are those of :class:`R2Plus1D`.

    Raises
    ------
    InvalidInput
        For an option that the network does not have, or a bad value.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        known = ", ".join((*spec.options, *_OPTIONS))
        raise InvalidInput(f"expected options out of {known}; got {', '.join(unknown)}")
    return R2Plus1D(spec, **options)


def public_keys() -> dict[str, str]:
    """Own key -> key of torchvision's ``r2plus1d_18`` state dict, for every tensor of the trunk."""
    keys = _conv_keys("stem", "stem", "stem.4")
    for name, channels, out, _ in blocks():
        stage, block = name.split(".")[1:]
        public = f"layer{int(stage) + 1}.{block}"
        for own, conv in (("conv_a", "conv1"), ("conv_b", "conv2")):
            keys |= _conv_keys(f"{name}.{own}", f"{public}.{conv}.0", f"{public}.{conv}.1")
        if channels != out:
            keys[f"{name}.shortcut_conv.weight"] = f"{public}.downsample.0.weight"
            keys |= norm_keys(f"{name}.shortcut_norm", f"{public}.downsample.1")
    return keys


def _conv_keys(own: str, public: str, last_norm: str) -> dict[str, str]:
    # torchvision numbers the parts: 0 spatial convolution, 1 norm, 2 ReLU, 3 temporal convolution.
    return {
        f"{own}.spatial.weight": f"{public}.0.weight",
        f"{own}.temporal.weight": f"{public}.3.weight",
        **norm_keys(f"{own}.spatial_norm", f"{public}.1"),
        **norm_keys(f"{own}.temporal_norm", last_norm),
    }
