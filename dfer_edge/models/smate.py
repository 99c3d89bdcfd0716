"""SMaTE in training form (paper 001: Kim, Cho, Bae, Sensors 2022, 22, 5753): a factorised ViViT-B/16x2 encoder."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.smate import HEAD_WIDTH, HEADS, MLP_WIDTH, NORM_EPS, TUBELET, WIDTH, Architecture
from dfer_edge.models.scenic import from_public, public_keys
from dfer_edge.spec import ModelSpec

__all__ = ["Attention", "Encoder", "EncoderLayer", "SMaTE", "create", "from_public", "mix_clips", "public_keys"]

MIXING = ("clip", "token")


class Attention(nn.Module):
    """Multi-head self-attention, biased, 12 heads of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part(x).unflatten(-1, (HEADS, HEAD_WIDTH)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        context = F.scaled_dot_product_attention(query, key, value)  # [B, heads, N, 64]
        out: torch.Tensor = self.out(context.transpose(1, 2).flatten(2))
        return out


class EncoderLayer(nn.Module):
    """Pre-norm attention and pre-norm MLP 768-3072-768 with tanh GELU, each added to its input (Eq. 4, 5)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH, NORM_EPS)
        self.attention = Attention()
        self.norm_mlp = nn.LayerNorm(WIDTH, NORM_EPS)
        self.mlp_in = nn.Linear(WIDTH, MLP_WIDTH)
        self.mlp_out = nn.Linear(MLP_WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm_attention(x)))
        hidden = self.dropout(F.gelu(self.mlp_in(self.norm_mlp(x)), approximate="tanh"))
        out: torch.Tensor = x + self.dropout(self.mlp_out(hidden))
        return out


class Encoder(nn.Module):
    """Layers and a final norm on tokens [B, N, 768]."""

    def __init__(self, depth: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(EncoderLayer(dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(WIDTH, NORM_EPS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        encoded: torch.Tensor = self.norm(self.layers(self.dropout(tokens)))
        return encoded


class SMaTE(nn.Module):
    """Spatial encoder over the patches of each tubelet, then temporal encoder over the tubelets.

    Input [B, 3, 25, 224, 224], normalised RGB. A tubelet embedding of 2 x 16 x 16 with equal stride gives 12 x 196
    tokens of 768; the last frame of an odd clip is never read. Each encoder has its own cls token and passes it on.

    Parameters
    ----------
    spec
        Architecture and temporal positions, see :class:`dfer_edge.inference.smate.Architecture`.
    dropout
        After the positions, the attention and both MLP layers; 0, as in Scenic's factorised configuration (the paper
        does not say). Above 0, dropout between TPE and the first norm lets printed TPE act, in training only.
    mixing
        Mixed tokens: draw X per ``clip``, the default, or per ``token``; the paper does not say which.
    mix_probability
        P(X = 1); 0.5, not given in the paper.
    """

    encoding: torch.Tensor

    def __init__(
        self, spec: ModelSpec, dropout: float = 0.0, mixing: str = "clip", mix_probability: float = 0.5
    ) -> None:
        super().__init__()
        if mixing not in MIXING:
            raise InvalidInput(f"expected mixing out of {', '.join(MIXING)}; got {mixing!r}")
        for name, value in (("dropout", dropout), ("mix_probability", mix_probability)):
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise InvalidInput(f"expected {name} between 0 and 1; got {value!r}")
        self.spec, self.mixing, self.mix_probability = spec, mixing, mix_probability
        self.architecture = architecture = Architecture.of(spec)
        self.embedding = nn.Conv3d(3, WIDTH, TUBELET, TUBELET)
        self.spatial_cls = nn.Parameter(torch.zeros(WIDTH))
        # Shared by all tubelets.
        self.spatial_positions = nn.Parameter(torch.zeros(architecture.patches + 1, WIDTH))
        self.spatial = Encoder(architecture.spatial_depth, dropout)
        self.temporal_cls = nn.Parameter(torch.zeros(WIDTH))
        if architecture.tpe_mode == "learned":
            self.temporal_positions = nn.Parameter(torch.zeros(architecture.tokens, WIDTH))
        if architecture.tpe_mode == "vector":
            self.temporal_vector = nn.Parameter(torch.zeros(WIDTH))
        self.register_buffer("encoding", torch.tensor(architecture.encoding(), dtype=torch.float64), persistent=False)
        self.temporal = Encoder(architecture.temporal_depth, dropout)
        self.head = nn.Linear(WIDTH, spec.num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """As Scenic: Xavier uniform for linear maps, deviation 0.02 for positions, zero for biases and cls."""
        for name, parameter in self.named_parameters():
            if name.endswith(("positions", "vector")):
                nn.init.normal_(parameter, std=0.02)
            elif parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter.flatten(1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def tokens(self, clip: torch.Tensor, augmented: torch.Tensor | None = None) -> torch.Tensor:
        """Tubelet tokens [B, T // 2, patches, 768], mixed as :meth:`forward` says."""
        if clip.ndim != 5 or clip.shape[1:] != self.spec.input_shape:
            raise InvalidInput(f"expected a clip of shape {['B', *self.spec.input_shape]}; got {list(clip.shape)}")
        if augmented is not None and self.training:
            clip = mix_clips(clip, augmented, self._draw_mixing(clip))
        embedded: torch.Tensor = self.embedding(clip)  # [B, 768, T // 2, H / 16, W / 16]
        return embedded.flatten(3).permute(0, 2, 3, 1)

    def _draw_mixing(self, clip: torch.Tensor) -> torch.Tensor:
        side = self.spec.size // TUBELET[1]
        shape = (len(clip),) if self.mixing == "clip" else (len(clip), self.architecture.tubelets, side, side)
        return torch.rand(shape, device=clip.device) < self.mix_probability

    def tubelet_features(self, clip: torch.Tensor, augmented: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised cls token of each tubelet, [B, T // 2, 768]."""
        tokens = self.tokens(clip, augmented)
        x = _prepend(self.spatial_cls, tokens.flatten(0, 1)) + self.spatial_positions
        features: torch.Tensor = self.spatial(x)[:, 0]
        return features.view(*tokens.shape[:2], WIDTH)

    def forward_features(self, clip: torch.Tensor, augmented: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens of the temporal encoder, normalised, cls first: [B, 1 + T // 2, 768]."""
        x = _prepend(self.temporal_cls, self.tubelet_features(clip, augmented))
        encoding = self.encoding.to(x)[:, None]
        if self.architecture.tpe_mode == "add":
            x = x + encoding
        elif self.architecture.tpe_mode == "vector":
            x = x + encoding * self.temporal_vector
        elif self.architecture.tpe_mode == "learned":
            x = x + self.temporal_positions
        encoded: torch.Tensor = self.temporal(x)
        return encoded

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of the temporal encoder's tokens."""
        logits: torch.Tensor = self.head(features[:, 0])
        return logits

    def forward(self, clip: torch.Tensor, augmented: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [B, K].

        Parameters
        ----------
        clip
            [B, 3, T, H, W], normalised.
        augmented
            [B, N, 3, T, H, W]: N augmented versions of each clip (geometric, colour, LBP; the paper does not give N,
            we use 3). In training mode tokens are mixed with theirs where X = 1; in evaluation mode X = 0.
        """
        return self.forward_head(self.forward_features(clip, augmented))


def _prepend(cls: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([cls.expand(len(tokens), 1, WIDTH), tokens], 1)


def mix_clips(clip: torch.Tensor, augmented: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The clip whose tubelet tokens are the mixed tokens of the paper.

    ``z = z_origin`` where X = 0, ``(z_origin + sum_n z_n) / (N + 1)`` where X = 1. The tubelet map is affine and
    tubelets do not overlap, so averaging pixels gives the same tokens for one embedding instead of N + 1.

    Parameters
    ----------
    clip
        [B, 3, T, H, W].
    augmented
        [B, N, 3, T, H, W], N of at least 1.
    chosen
        X, bool: [B] per clip or [B, T // 2, H / 16, W / 16] per token.

    Returns
    -------
    [B, 3, T, H, W]; an odd last frame, which no tubelet covers, stays the original's.
    """
    if augmented.shape[:1] + augmented.shape[2:] != clip.shape or augmented.shape[1] < 1:
        expected = [len(clip), "N", *clip.shape[1:]]
        raise InvalidInput(f"expected augmented clips of shape {expected}; got {list(augmented.shape)}")
    mean = (clip + augmented.sum(1)) / (augmented.shape[1] + 1)
    if chosen.ndim == 1:
        return torch.where(chosen.view(-1, 1, 1, 1, 1), mean, clip)
    for axis, step in enumerate(TUBELET, start=1):
        chosen = chosen.repeat_interleave(step, axis)
    chosen = F.pad(chosen, (0, 0, 0, 0, 0, clip.shape[2] - chosen.shape[1]))
    return torch.where(chosen.unsqueeze(1), mean, clip)


def create(spec: ModelSpec, frames: int | None = None, size: int | None = None, **options: Any) -> SMaTE:
    """The training form of ``spec``.

    Parameters
    ----------
    spec
        Its labels are AFEW's; ``spec.with_labels(dfer_edge.labels.CK_PLUS)`` for CK+.
    frames, size
        Clip length and crop side in pixels other than the spec's, e.g. 16 and 64.
    options
        Those of :class:`SMaTE`.
    """
    frames = spec.frames if frames is None else frames
    size = spec.size if size is None else size
    return SMaTE(dataclasses.replace(spec, frames=frames, size=size), **options)
