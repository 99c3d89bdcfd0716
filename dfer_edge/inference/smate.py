"""SMaTE: exact inference form (paper 001, models.md section 2).

Folded, in float64: layer norm scales and shifts into the next linear layer; the attention scale 1/8 into the query
projection (a power of two, so without rounding); key biases dropped, since they shift all scores of a query alike and
the softmax ignores that; value biases into output biases, since attention weights sum to 1; the cls token and the
tubelet bias into the position table. The last layer of each encoder computes its cls token only: with a single query
the key and value projections move to its side, ``scores = y (W_k^T q)`` and ``context = W_v (a y)``, so that they run
once and not per token.

Dropped: the temporal position encoding (TPE) in its printed form, which no layer sees (see :class:`Architecture`), and
the last frame of an odd clip, which no tubelet covers.

Pixel normalisation (x / 127.5 - 1) would fold into the tubelet embedding exactly, which has no padding. It stays in the
spec: preprocessing is one place for all networks and engines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import Array, take
from dfer_edge.spec import ModelSpec

WIDTH, HEADS, MLP_WIDTH = 768, 12, 3072
HEAD_WIDTH = WIDTH // HEADS
TUBELET = (2, 16, 16)
NORM_EPS = 1e-6

TPE_FORMS = ("v1", "v2", "v2n")
TPE_MODES = ("add", "none", "learned", "vector")

SIMPLIFICATIONS = (
    "last layer of each encoder computes its cls token only; layer norms, attention scale and value biases folded into "
    "linear layers; key biases and the temporal position encoding, which act on nothing, dropped"
)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What ``spec.frames``, ``spec.size`` and ``spec.options`` say, checked.

    Attributes
    ----------
    frames, size
        Clip length and crop; 25 and 224 as printed. The paper's table of crops uses 16 frames. An odd last frame is
        never read: the printed FLOPs of 25 and 16 frames stand as 12 to 8 tubelets.
    spatial_depth, temporal_depth
        Layers; 12 and 12. The public ViViT-B/16x2 factorised encoder has 4 temporal layers (114.76 M parameters with
        its learned table), but the printed 171.45 M need 12.
    tpe_mode
        What tells the temporal encoder the order of tubelets.

        - ``add``, the default: TPE as printed, one scalar per position added to all channels. Layer norm subtracts the
          mean over channels, the encoder is pre-norm (Eq. 4, 5) and normalised again before the head, so nothing sees
          it: SMaTE as printed is an order-free bag of tubelets.
        - ``none``: no position; equal to ``add`` up to dropout in training.
        - ``learned``: a learned table [tokens, 768], the paper's baseline "BERT".
        - ``vector``: an extension, not in the paper. TPE times a learned 768-vector, which layer norm cannot erase.
    tpe_form
        ``v1`` or ``v2`` as printed, ``v2n`` normalised; see :func:`temporal_encoding`. The paper's best rows are v2.
    alpha
        Exponent or slope of TPE, above 0; never given in the paper, 1 by default, where v2 and v2n agree.
    tpe_length
        L of TPE, "maximum length of the token sequence"; 0, the default, takes the number of tokens (cls included).
    """

    frames: int
    size: int
    spatial_depth: int
    temporal_depth: int
    tpe_mode: str
    tpe_form: str
    alpha: float
    tpe_length: int

    @classmethod
    def of(cls, spec: ModelSpec) -> Architecture:
        return cls(spec.frames, spec.size, **spec.options)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        _require(_is_count(self.frames, TUBELET[0]), "frames of at least 2", self.frames)
        _require(_is_count(self.size, 1) and self.size % TUBELET[1] == 0, "a size divisible by 16", self.size)
        for depth in (self.spatial_depth, self.temporal_depth):
            _require(_is_count(depth, 1), "a depth of at least 1 layer", depth)
        _require(self.tpe_mode in TPE_MODES, f"a tpe_mode out of {', '.join(TPE_MODES)}", self.tpe_mode)
        _require(self.tpe_form in TPE_FORMS, f"a tpe_form out of {', '.join(TPE_FORMS)}", self.tpe_form)
        finite = isinstance(self.alpha, (int, float)) and math.isfinite(self.alpha)
        _require(finite and self.alpha > 0, "a finite alpha above 0", self.alpha)
        long_enough = self.tpe_length == 0 or _is_count(self.tpe_length, self.tokens)
        _require(long_enough, f"a tpe_length of 0 or at least {self.tokens} tokens", self.tpe_length)

    @property
    def tubelets(self) -> int:
        return self.frames // TUBELET[0]

    @property
    def tokens(self) -> int:
        """Tokens of the temporal encoder: cls and one per tubelet."""
        return self.tubelets + 1

    @property
    def patches(self) -> int:
        """Tokens of the spatial encoder without its cls."""
        return (self.size // TUBELET[1]) ** 2

    @property
    def ordered(self) -> bool:
        """Whether the order of tubelets reaches the logits."""
        return self.tpe_mode in ("learned", "vector")

    def encoding(self) -> Array:
        """TPE of each token of the temporal encoder, float64 [tokens]; cls is position 0."""
        return temporal_encoding(self.tokens, self.tpe_form, float(self.alpha), self.tpe_length or self.tokens)


def _require(condition: bool, expected: str, actual: object) -> None:
    if not condition:
        raise InvalidInput(f"expected {expected}; got {actual!r}")


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and value >= least


def temporal_encoding(tokens: int, form: str, alpha: float, length: int) -> Array:
    """Temporal position encoding of positions 0 .. tokens - 1, float64 [tokens]; L is ``length``.

    - ``v1``: 1 / (1 + exp(-alpha (2 pos - L) / L)), from sigmoid(-alpha) to sigmoid(alpha (L - 2) / L).
    - ``v2``: pos^alpha / L as printed; leaves [0, 1] for alpha above ln L / ln(L - 1), 1.032 for L = 13.
    - ``v2n``: (pos / L)^alpha, which fits the text ("normalised to L", "between 0 and 1").
    """
    position = np.arange(tokens, dtype=np.float64)
    if form == "v1":
        return 1 / (1 + np.exp(-alpha * (2 * position - length) / length))
    return position**alpha / length if form == "v2" else (position / length) ** alpha


# -- folding ------------------------------------------------------------------------------------------------------


def fold(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Weights of the inference form, float64, from the training form's state."""
    architecture = Architecture.of(spec)
    table = take(state, "spatial_positions") + take(state, "embedding.bias")
    table[0] = take(state, "spatial_positions")[0] + take(state, "spatial_cls")
    folded = {"embedding.weight": take(state, "embedding.weight"), "spatial.positions": table}
    for layer in range(architecture.spatial_depth):
        folded |= _fold_layer(state, f"spatial.layers.{layer}")
    # The features enter a residual stream and not a linear layer: this scale and shift have nowhere to go.
    folded |= {"spatial.scale": take(state, "spatial.norm.weight"), "spatial.shift": take(state, "spatial.norm.bias")}
    folded |= _fold_positions(state, architecture)
    for layer in range(architecture.temporal_depth):
        folded |= _fold_layer(state, f"temporal.layers.{layer}")
    weight, bias = _absorb_norm(state, "temporal.norm", "head")
    return folded | {"head.weight": weight, "head.bias": bias}


def _fold_positions(state: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    cls = take(state, "temporal_cls")
    if not architecture.ordered:
        return {"temporal.cls": cls[None]}
    if architecture.tpe_mode == "learned":
        table = take(state, "temporal_positions").copy()
    else:
        table = np.outer(architecture.encoding(), take(state, "temporal_vector"))
    table[0] += cls
    return {"temporal.positions": table}


def _fold_layer(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    norm, attention = f"{name}.norm_attention", f"{name}.attention"
    scale = HEAD_WIDTH**-0.5
    query, query_bias = _absorb_norm(state, norm, f"{attention}.query")
    key, _ = _absorb_norm(state, norm, f"{attention}.key")
    value, value_bias = _absorb_norm(state, norm, f"{attention}.value")
    out = take(state, f"{attention}.out.weight")
    mlp_in, mlp_in_bias = _absorb_norm(state, f"{name}.norm_mlp", f"{name}.mlp_in")
    return {
        f"{name}.query.weight": query * scale,
        f"{name}.query.bias": query_bias * scale,
        f"{name}.key.weight": key,
        f"{name}.value.weight": value,
        f"{name}.out.weight": out,
        f"{name}.out.bias": take(state, f"{attention}.out.bias") + out @ value_bias,
        f"{name}.mlp_in.weight": mlp_in,
        f"{name}.mlp_in.bias": mlp_in_bias,
        f"{name}.mlp_out.weight": take(state, f"{name}.mlp_out.weight"),
        f"{name}.mlp_out.bias": take(state, f"{name}.mlp_out.bias"),
    }


def _absorb_norm(state: Mapping[str, Array], norm: str, linear: str) -> tuple[Array, Array]:
    """Weight and bias of ``linear`` on a normalised token without the scale and shift of ``norm``."""
    weight = take(state, f"{linear}.weight")
    bias = take(state, f"{linear}.bias") + weight @ take(state, f"{norm}.bias")
    return weight * take(state, f"{norm}.weight"), bias


# -- graph --------------------------------------------------------------------------------------------------------


def build(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Logits [B, K] of a normalised clip [B, 3, T, H, W]."""
    return window_head(graph, step_features(graph, inputs, spec), spec)


def step_features(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Features [B, t // 2, 768] of the tubelets of a clip [B, 3, t, H, W]; t may differ from ``spec.frames``.

    Each depends on its two frames only, so a stream computes one per two frames and keeps the others.
    """
    architecture, clip = Architecture.of(spec), inputs[0]
    tubelets = graph.shape(clip)[2] // TUBELET[0]
    table = graph.weight("spatial.positions", (architecture.patches + 1, WIDTH))
    x = graph.add(graph.pad(_embed(graph, clip, tubelets), 1, 1, 0), table)  # [B * t // 2, 1 + patches, 768]
    cls = graph.layer_norm(_encode(graph, x, "spatial", architecture.spatial_depth), NORM_EPS)
    cls = graph.add(graph.mul(cls, graph.weight("spatial.scale", (WIDTH,))), _vector(graph, "spatial.shift"))
    return graph.reshape(cls, (-1, tubelets, WIDTH))


def window_head(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [B, K] of tubelet features [B, T // 2, 768], oldest first."""
    architecture = Architecture.of(spec)
    if architecture.ordered:
        start = graph.weight("temporal.positions", (architecture.tokens, WIDTH))
    else:
        start = graph.pad(graph.weight("temporal.cls", (1, WIDTH)), 0, 0, architecture.tubelets)
    x = graph.add(graph.pad(features, 1, 1, 0), start)  # [B, 1 + T // 2, 768]
    cls = graph.layer_norm(_encode(graph, x, "temporal", architecture.temporal_depth), NORM_EPS)
    weight = graph.weight("head.weight", (spec.num_classes, WIDTH), 2.0)
    return graph.linear(cls, weight, graph.weight("head.bias", (spec.num_classes,), 0.02))


def _embed(graph: Graph[T], clip: T, tubelets: int) -> T:
    """Tubelet tokens [B * tubelets, patches, 768] without bias: a 2 x 16 x 16 convolution with stride 2, 16, 16."""
    depth, side, _ = TUBELET
    _, channels, frames, height, width = graph.shape(clip)
    shape = (WIDTH, channels, *TUBELET)
    if graph.form == "3d":
        x = graph.conv(clip, graph.weight("embedding.weight", shape), None, TUBELET, (0, 0, 0))
        x = graph.transpose(x, (0, 2, 3, 4, 1))
    else:
        # A tubelet's two frames become channels of one image, in the order of the 3-D weight.
        x = graph.slice(clip, 2, 0, tubelets * depth) if frames % depth else clip
        x = graph.transpose(graph.reshape(x, (-1, channels, tubelets, depth, height, width)), (0, 2, 1, 3, 4, 5))
        x = graph.reshape(x, (-1, channels * depth, height, width))
        weight = graph.weight("embedding.weight", shape, layout=(WIDTH, channels * depth, side, side))
        x = graph.transpose(graph.conv(x, weight, None, (side, side), (0, 0)), (0, 2, 3, 1))
    return graph.reshape(x, (-1, (height // side) * (width // side), WIDTH))


def _encode(graph: Graph[T], x: T, encoder: str, depth: int) -> T:
    """The cls token [B, 768] after all layers, before the final norm, of tokens [B, N, 768]."""
    for layer in range(depth - 1):
        name = f"{encoder}.layers.{layer}"
        x = _mlp(graph, _attention(graph, x, name), name)
    name = f"{encoder}.layers.{depth - 1}"
    return _mlp(graph, _cls_attention(graph, x, name), name)


def _attention(graph: Graph[T], x: T, name: str) -> T:
    """x + attention of [B, N, 768], pre-norm (Eq. 4)."""
    tokens = graph.shape(x)[1]
    y = graph.layer_norm(x, NORM_EPS)
    query = _heads(graph, _linear(graph, y, f"{name}.query", WIDTH, gain=HEAD_WIDTH**-0.5), (0, 2, 1, 3))
    key = _heads(graph, _linear(graph, y, f"{name}.key", WIDTH, bias=False), (0, 2, 3, 1))
    value = _heads(graph, _linear(graph, y, f"{name}.value", WIDTH, bias=False), (0, 2, 1, 3))
    context = graph.matmul(graph.softmax(graph.matmul(query, key)), value)  # [B, heads, N, 64]
    context = graph.reshape(graph.transpose(context, (0, 2, 1, 3)), (-1, tokens, WIDTH))
    return graph.add(x, _linear(graph, context, f"{name}.out", WIDTH, gain=0.5))


def _heads(graph: Graph[T], x: T, order: Sequence[int]) -> T:
    return graph.transpose(graph.reshape(x, (-1, graph.shape(x)[1], HEADS, HEAD_WIDTH)), order)


def _cls_attention(graph: Graph[T], x: T, name: str) -> T:
    """As :func:`_attention` for the first token only: [B, 768], projections of keys and values on the query's side."""
    y = graph.layer_norm(x, NORM_EPS)
    first = graph.reshape(graph.slice(y, 1, 0, 1), (-1, WIDTH))
    query = _linear(graph, first, f"{name}.query", WIDTH, gain=HEAD_WIDTH**-0.5)
    split = (HEADS, HEAD_WIDTH, WIDTH)
    key = graph.weight(f"{name}.key.weight", (WIDTH, WIDTH), layout=split)
    query = graph.matmul(graph.reshape(query, (-1, HEADS, 1, HEAD_WIDTH)), key)  # [B, heads, 1, 768]
    scores = graph.matmul(graph.reshape(query, (-1, HEADS, WIDTH)), graph.transpose(y, (0, 2, 1)))
    mixed = graph.reshape(graph.matmul(graph.softmax(scores), y), (-1, HEADS, 1, WIDTH))
    value = graph.weight(f"{name}.value.weight", (WIDTH, WIDTH), layout=split)
    context = graph.reshape(graph.matmul(mixed, graph.transpose(value, (0, 2, 1))), (-1, WIDTH))
    cls = graph.reshape(graph.slice(x, 1, 0, 1), (-1, WIDTH))
    return graph.add(cls, _linear(graph, context, f"{name}.out", WIDTH, gain=0.5))


def _mlp(graph: Graph[T], x: T, name: str) -> T:
    """x + MLP of tokens, pre-norm (Eq. 5), GELU in its tanh form."""
    y = _linear(graph, graph.layer_norm(x, NORM_EPS), f"{name}.mlp_in", MLP_WIDTH)
    # Small gains on what is added keep random residual streams from growing.
    return graph.add(x, _linear(graph, graph.activate(y, "gelu_tanh"), f"{name}.mlp_out", WIDTH, gain=0.5))


def _linear(graph: Graph[T], x: T, name: str, out: int, bias: bool = True, gain: float = 1.0) -> T:
    weight = graph.weight(f"{name}.weight", (out, graph.shape(x)[-1]), gain)
    return graph.linear(x, weight, _vector(graph, f"{name}.bias", out) if bias else None)


def _vector(graph: Graph[T], name: str, width: int = WIDTH) -> T:
    return graph.weight(name, (width,), 0.02)
