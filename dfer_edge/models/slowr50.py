"""SlowR50 and SlowR50-SA in training form (paper 000: Neshov et al., Electronics 2024, 13, 1606)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.slowr50 import APEX, ATTENTION_WIDTH, EXPANSION, FRAMES, STAGES, reads_frames
from dfer_edge.models.backbone import norm_keys
from dfer_edge.spec import ModelSpec

FEATURES = STAGES[-1][1] * EXPANSION


class Stem(nn.Module):
    """1x7x7 convolution, batch norm, ReLU and 1x3x3 max pooling: stride 4 in space, 1 in time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(64)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(torch.relu(self.norm(self.conv(clip))))
        return pooled


class Bottleneck(nn.Module):
    """Temporal k x 1 x 1, spatial 1 x 3 x 3, pointwise; the stride is spatial only, in the 3 x 3."""

    def __init__(self, channels: int, inner: int, temporal: int, stride: int, project: bool) -> None:
        super().__init__()
        out = inner * EXPANSION
        self.conv_a = nn.Conv3d(channels, inner, (temporal, 1, 1), padding=(temporal // 2, 0, 0), bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = nn.Conv3d(inner, out, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(out)
        self.project = project
        if project:
            self.shortcut_conv = nn.Conv3d(channels, out, 1, (1, stride, stride), bias=False)
            self.shortcut_norm = nn.BatchNorm3d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = self.shortcut_norm(self.shortcut_conv(x)) if self.project else x
        y = torch.relu(self.norm_a(self.conv_a(x)))
        y = torch.relu(self.norm_b(self.conv_b(y)))
        return torch.relu(identity + self.norm_c(self.conv_c(y)))


class PlainHead(nn.Module):
    """Dropout and one linear layer."""

    def __init__(self, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FEATURES, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.dropout(features))
        return logits


class AttentionHead(nn.Module):
    """Self-attention over the one pooled token, as printed: x + MHA(x), 2048 -> 512, ReLU, 512 -> K.

    Given [B, T, 2048] it reads a token a frame, and the mean of what they say.

    With one token the softmax is 1 for any query and key, so the query and key projections never get a gradient;
    they are kept because the paper counts them. Biases: with or without both round to the printed 17.82 M; we use them,
    the default of ``nn.MultiheadAttention``.
    """

    def __init__(self, num_classes: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(FEATURES, heads, batch_first=True)
        self.fc = nn.Linear(FEATURES, ATTENTION_WIDTH)
        self.classifier = nn.Linear(ATTENTION_WIDTH, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        token = self.dropout(features if features.ndim == 3 else features.unsqueeze(1))  # [B, 1 or T, 2048]
        # Asking for the weights takes the explicit softmax, whose gradient by q and k is 0 and not merely tiny.
        attended, _ = self.attention(token, token, token, need_weights=True)
        hidden = torch.relu(self.fc((token + attended).mean(1)))
        logits: torch.Tensor = self.classifier(hidden)
        return logits


class SlowR50(nn.Module):
    """3-D ResNet-50 with temporal kernels in its last two stages, after the slow pathway of SlowFast.

    Input [B, 3, 8, 196, 196], normalised RGB. Temporal stride is 1 everywhere.

    Parameters
    ----------
    spec
        ``spec.options["attention_heads"]``: 4 for SlowR50-SA, 0 for the ablation SlowR50. ``options["pooling"]``:
        absent or ``"mean"`` as printed, or ``"apex"``, see :data:`~dfer_edge.inference.slowr50.APEX`.
        ``options["attention_tokens"]``: absent or ``"pooled"`` as printed, or ``"frames"``, see
        :data:`~dfer_edge.inference.slowr50.FRAMES`.
    dropout
        On the pooled vector, before the attention; 0.5 (the paper does not say where).
    """

    apex: nn.Linear

    def __init__(self, spec: ModelSpec, dropout: float = 0.5) -> None:
        super().__init__()
        self.spec = spec
        self.stem = Stem()
        stages, channels = [], 64
        for blocks, inner, temporal, stride in STAGES:
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(channels, inner, temporal, stride if block == 0 else 1, block == 0))
                channels = inner * EXPANSION
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        heads = int(spec.options["attention_heads"])  # type: ignore[arg-type]
        self.head: nn.Module = (
            AttentionHead(spec.num_classes, heads, dropout) if heads else PlainHead(spec.num_classes, dropout)
        )

        self.take_options(spec)

    def take_options(self, spec: ModelSpec) -> None:
        """Pool as ``spec`` says; what it is otherwise made with stays."""
        options = {name: value for name, value in spec.options.items() if name in _LATER}
        rest = {name: value for name, value in self.spec.options.items() if name not in _LATER}
        self.spec = dataclasses.replace(self.spec, options=rest | options)
        if options.get("pooling") != APEX:
            if hasattr(self, "apex"):
                del self.apex
        elif not hasattr(self, "apex"):
            like = next(self.head.parameters())
            self.apex = nn.Linear(self.spec.num_classes, 1, bias=False, device=like.device, dtype=like.dtype)
            nn.init.zeros_(self.apex.weight)  # the mean, to begin with

    def forward_features(self, clip: torch.Tensor) -> torch.Tensor:
        """Feature map [B, 2048, T, H / 32, W / 32] (rounded up) of a clip [B, 3, T, H, W]."""
        features: torch.Tensor = self.stages(self.stem(clip))
        return features

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of a feature map."""
        if reads_frames(self.spec):
            spoken: torch.Tensor = self.head(features.mean((3, 4)).transpose(1, 2))
            return spoken
        if not hasattr(self, "apex"):
            logits: torch.Tensor = self.head(features.mean((2, 3, 4)))
            return logits
        frames = features.mean((3, 4)).transpose(1, 2)  # [B, T, 2048]
        scores = self.head(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # [B, T, K]
        weights = torch.softmax(self.apex(scores), 1)
        pooled: torch.Tensor = (weights * scores).sum(1)
        return pooled

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of a normalised clip [B, 3, T, H, W]."""
        return self.forward_head(self.forward_features(clip))


_LATER = {"pooling": ("mean", APEX), "centre_taps": (True, False), "attention_tokens": ("pooled", FRAMES)}


def create(spec: ModelSpec, **options: Any) -> SlowR50:
    """The training form of ``spec``; ``options`` are those of :class:`SlowR50`.

    ``pooling``, ``centre_taps`` and ``attention_tokens`` go into the spec's options, where they are absent unless asked
    for.

    Raises
    ------
    InvalidInput
        For another value of these, and for tokens of frames without attention or with another pooling.
    """
    asked = {name: options.pop(name) for name in _LATER if options.get(name) is not None}
    for name, value in asked.items():
        if value not in _LATER[name]:
            raise InvalidInput(f"expected {name} out of {', '.join(map(str, _LATER[name]))}; got {value!r}")
    spec = spec.with_options(**asked)
    if reads_frames(spec) and (not spec.options["attention_heads"] or spec.options.get("pooling") == APEX):
        raise InvalidInput("expected attention over frames with attention_heads and the mean pooling alone")
    return SlowR50(spec, **{name: value for name, value in options.items() if name not in _LATER})


def public_keys() -> dict[str, str]:
    """Own key -> key of pytorchvideo's ``slow_r50`` state dict, for every tensor that both have."""
    keys = {"stem.conv.weight": "blocks.0.conv.weight", **norm_keys("stem.norm", "blocks.0.norm")}
    for stage, (blocks, *_) in enumerate(STAGES):
        for block in range(blocks):
            own, public = f"stages.{stage}.{block}", f"blocks.{stage + 1}.res_blocks.{block}"
            for part in "abc":
                keys[f"{own}.conv_{part}.weight"] = f"{public}.branch2.conv_{part}.weight"
                keys |= norm_keys(f"{own}.norm_{part}", f"{public}.branch2.norm_{part}")
        own, public = f"stages.{stage}.0", f"blocks.{stage + 1}.res_blocks.0"
        keys[f"{own}.shortcut_conv.weight"] = f"{public}.branch1_conv.weight"
        keys |= norm_keys(f"{own}.shortcut_norm", f"{public}.branch1_norm")
    return keys | {f"head.classifier.{kind}": f"blocks.5.proj.{kind}" for kind in ("weight", "bias")}
