"""`keypoint_tsa`: exact inference form (paper 003, models.md section 4).

Folded, in float64:

- 23 batch norms into their convolutions; the auxiliary head is dropped;
- layer norms' scale and shift, and the 1/8 of the attention scores, into the linear layers after them;
- cls and its position into one vector, which is added with the other positions;
- in the last block only the cls token asks and leaves, so keys and values are never formed: scores = y (W_k^T q),
  context = W_v (a y). Key biases drop out of the softmax, value biases pass it into the output bias;
- heat maps are separable and pooling is one product; a fused kernel can take ``pool_gated`` in its place, which
  never writes the gated features (:mod:`dfer_edge.inference.keypoint_pooling`);
- the graph convolution runs for the 16 pooled nodes; the two bridge nodes only feed their neighbours.

Frames do not see each other before the temporal part: ``step_features`` and ``window_head`` are apart so that a
stream computes each frame once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import NORM_EPS, Array, fold_norm, take
from dfer_edge.inference.keypoint_graph import GROUPS, LANDMARKS, NODES, adjacency
from dfer_edge.inference.keypoint_options import Options
from dfer_edge.inference.keypoint_pooling import KEPT, ORDER, gaussian_profiles, node_cells, pool_gemm, triplet_gates
from dfer_edge.inference.lstm import fold_lstm, last_state
from dfer_edge.spec import ModelSpec

STAGES = (64, 128, 256, 512)
BLOCKS = 2
WIDTH = STAGES[-1]
HEAD_WIDTH = 64
CLASSES = 1000
"""Outputs of the backbone's own last layer, with the option ``kept_fc``."""
SIMPLIFICATIONS = (
    "auxiliary head dropped; batch and layer norms folded; separable key-point heat maps, pooled in one product; "
    "graph convolution on 16 of 18 nodes; last temporal block on the cls token only"
)


def fold(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Weights of the inference form, float64, from the training form's state."""
    options = Options.of(spec)
    folded = _fold_backbone(state)
    for axis in range(3):
        folded |= fold_norm(state, f"triplet.gates.{axis}.conv", f"triplet.gates.{axis}.norm", f"gates.{axis}")
    folded |= _fold_regions(state, options) if options.fusion != "none" else {}
    folded |= _fold_temporal(state, options)
    norm = "head.norm" if options.final_norm else None
    return folded | _affine("head", *_after_norm(state, norm, "head.classifier"))


def _fold_regions(state: Mapping[str, Array], options: Options) -> dict[str, Array]:
    folded = {"regions.relation.weight": take(state, "regions.relation.weight")}
    folded |= _affine("regions.fc", *_after_norm(state, None, "regions.fc"))
    if options.own_fc:
        weight, bias = _after_norm(state, None, "regions.global_fc")
        if options.kept_fc:  # two linear layers with nothing between them
            kept, kept_bias = _after_norm(state, None, "regions.kept_fc")
            weight, bias = weight @ kept, bias + weight @ kept_bias
        folded |= _affine("regions.global_fc", weight, bias)
    return folded | (fold_lstm(state, "regions.sequence") if options.fusion == "lstm" else {})


def _fold_temporal(state: Mapping[str, Array], options: Options) -> dict[str, Array]:
    if options.temporal != "attention":
        return fold_lstm(state, "temporal.sequence") if options.temporal == "lstm" else {}
    position, cls = take(state, "temporal.position")[0], take(state, "temporal.cls")[0]
    folded = {"temporal.position": np.concatenate([position[:1] + cls, position[1:]])}
    for block in range(options.depth):
        last = block == options.depth - 1
        folded |= (_fold_last_block if last else _fold_block)(state, f"temporal.blocks.{block}")
    return folded


def _fold_backbone(state: Mapping[str, Array]) -> dict[str, Array]:
    folded = fold_norm(state, "backbone.stem_conv", "backbone.stem_norm", "stem")
    for stage in range(len(STAGES)):
        for block in range(BLOCKS):
            own, out = f"backbone.stages.{stage}.{block}", f"stages.{stage}.{block}"
            for part in "ab":
                folded |= fold_norm(state, f"{own}.conv_{part}", f"{own}.norm_{part}", f"{out}.{part}")
            if stage > 0 and block == 0:
                folded |= fold_norm(state, f"{own}.shortcut_conv", f"{own}.shortcut_norm", f"{out}.shortcut")
    return folded


def _affine(name: str, weight: Array, bias: Array) -> dict[str, Array]:
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _after_norm(state: Mapping[str, Array], norm: str | None, linear: str) -> tuple[Array, Array]:
    """Weight and bias of a linear layer with the scale and shift of the layer norm before it."""
    weight = take(state, f"{linear}.weight")
    bias = take(state, f"{linear}.bias") if f"{linear}.bias" in state else np.zeros(len(weight))
    if norm is None:
        return weight, bias
    return weight * take(state, f"{norm}.weight"), bias + weight @ take(state, f"{norm}.bias")


def _fold_attention(state: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    """Weight and bias of qkv after its layer norm, with the 1/8 of the scores (a power of two: no rounding)."""
    weight, bias = _after_norm(state, f"{name}.norm_a", f"{name}.qkv")
    scale = np.repeat([1 / math.sqrt(HEAD_WIDTH), 1, 1], len(weight) // 3)
    return weight * scale[:, None], bias * scale


def _fold_block(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    out, fc_b = (_after_norm(state, None, f"{name}.{layer}") for layer in ("out", "fc_b"))
    fc_a = _after_norm(state, f"{name}.norm_b", f"{name}.fc_a")
    layers = {"qkv": _fold_attention(state, name), "out": out, "fc_a": fc_a, "fc_b": fc_b}
    return {key: value for layer, pair in layers.items() for key, value in _affine(f"{name}.{layer}", *pair).items()}


def _fold_last_block(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    folded = _fold_block(state, name)
    query, key, value = np.split(folded.pop(f"{name}.qkv.weight"), 3)
    query_bias, _, value_bias = np.split(folded.pop(f"{name}.qkv.bias"), 3)
    return folded | {
        f"{name}.out.bias": folded[f"{name}.out.bias"] + folded[f"{name}.out.weight"] @ value_bias,
        **_affine(f"{name}.query", query, query_bias),
        f"{name}.key": key.reshape(-1, HEAD_WIDTH, WIDTH),
        f"{name}.value": value.reshape(-1, HEAD_WIDTH, WIDTH).transpose(0, 2, 1),
    }


def build(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Logits [B, K] of a normalised clip [B, 3, T, H, W] and landmarks [B, T, 68, 2] in input pixels, x then y.

    All 68 landmarks have to be finite, also those that are no nodes.
    """
    return window_head(graph, step_features(graph, inputs, spec), spec)


def step_features(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Features [B, n, 512] of n single frames [B, 3, n, H, W] and landmarks [B, n, 68, 2]."""
    clip, landmarks = inputs
    frames = graph.reshape(graph.transpose(clip, (0, 2, 1, 3, 4)), (-1, 3, spec.size, spec.size))
    features = frame_features(graph, frames, graph.reshape(landmarks, (-1, LANDMARKS, 2)), spec)
    return graph.reshape(features, (-1, graph.shape(clip)[2], WIDTH))


def frame_features(graph: Graph[T], frames: T, landmarks: T, spec: ModelSpec, pool: Callable[..., T] = pool_gemm) -> T:
    """Fused region vectors [N, 512] of frames [N, 3, H, W] and landmarks [N, 68, 2].

    ``pool`` is one of the equal ways in :mod:`dfer_edge.inference.keypoint_pooling`, or a fused kernel in their place.
    """
    options = Options.of(spec)
    x = backbone(graph, frames, options)
    side, gates = graph.shape(x)[-1], triplet_gates(graph, x)
    settings: dict[str, Any] = {"sigma": options.sigma_fraction * side, "norm_heat": options.norm_heat}
    if "landmark_pool" in graph.kernels:
        pooled = graph.kernel("landmark_pool", x, node_cells(graph, landmarks, spec.size, side), *gates, **settings)
    else:
        pooled = pool(graph, x, gates, *gaussian_profiles(graph, landmarks, spec.size, side, options))
        graph.place("landmark_pool", pooled, x, landmarks, *gates, size=spec.size, **settings)
    return fuse_regions(graph, pooled, options)


def _linear(graph: Graph[T], x: T, name: str, out: int, gain: float = 1.0) -> T:
    weight = graph.weight(f"{name}.weight", (out, graph.shape(x)[-1]), gain)
    return graph.linear(x, weight, graph.weight(f"{name}.bias", (out,), 0.02))


def _conv(graph: Graph[T], x: T, name: str, out: int, kernel: int, stride: int = 1, gain: float = 2**0.5) -> T:
    weight = graph.weight(f"{name}.weight", (out, graph.shape(x)[1], kernel, kernel), gain)
    bias, pad = graph.weight(f"{name}.bias", (out,), 0.02), kernel // 2
    return graph.conv(x, weight, bias, (stride, stride), (pad, pad))


def backbone(graph: Graph[T], frames: T, options: Options) -> T:
    """ResNet-18 features [N, 512, S, S]."""
    x = graph.relu(_conv(graph, frames, "stem", STAGES[0], kernel=7, stride=2))
    x = graph.max_pool(x, (3, 3), (2, 2), (1, 1))
    for stage, (width, stride) in enumerate(zip(STAGES, (1, 2, *options.last_strides), strict=True)):
        for block in range(BLOCKS):
            first = block == 0
            x = _basic_block(graph, x, f"stages.{stage}.{block}", width, stride if first else 1, first and stage > 0)
    return x


def _basic_block(graph: Graph[T], x: T, name: str, width: int, stride: int, project: bool) -> T:
    identity = _conv(graph, x, f"{name}.shortcut", width, 1, stride, gain=1.0) if project else x
    y = graph.relu(_conv(graph, x, f"{name}.a", width, 3, stride))
    # A small gain keeps random residual stacks from growing.
    return graph.relu(graph.add(identity, _conv(graph, y, f"{name}.b", width, 3, gain=0.5)))


def fuse_regions(graph: Graph[T], pooled: T, options: Options) -> T:
    """[N, 512] from pooled nodes and global vector [N, 19, 512]: graph convolution, region means, whole face."""
    whole = graph.reshape(graph.slice(pooled, 1, NODES, NODES + 1), (-1, WIDTH))
    if options.fusion == "none":
        return whole
    nodes, kept = graph.slice(pooled, 1, 0, NODES), graph.slice(pooled, 1, 0, KEPT)
    relation = graph.linear(whole, graph.weight("regions.relation.weight", (WIDTH, WIDTH)), None)
    relation = graph.reshape(relation, (-1, WIDTH, 1))
    links = graph.constant(adjacency(options.self_loop)[np.ix_(ORDER[:KEPT], ORDER)])
    if options.node_scale == "row":
        heard = graph.mul(graph.relu(graph.matmul(kept, relation)), graph.matmul(links, nodes))
    else:
        heard = graph.matmul(links, graph.mul(graph.relu(graph.matmul(nodes, relation)), nodes))
    convolved = graph.relu(_linear(graph, graph.add(heard, kept), "regions.fc", options.node_width))
    name = "regions.global_fc" if options.own_fc else "regions.fc"
    face = graph.relu(_linear(graph, whole, name, options.node_width))
    return graph.concat([*_region_parts(graph, convolved, options), face], 1)


def _region_parts(graph: Graph[T], convolved: T, options: Options) -> list[T]:
    """Of the pooled nodes [N, 16, C]: the means of the regions, or one vector of all."""
    if options.fusion == "lstm":
        return [last_state(graph, convolved, "regions.sequence", options.node_width)]
    bounds = [0, KEPT] if options.fusion == "mean" else np.cumsum([0, *map(len, GROUPS)]).tolist()
    return [graph.mean(graph.slice(convolved, 1, *pair), (1,)) for pair in itertools.pairwise(bounds)]


def window_head(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [B, K] of the fused vectors [B, T, 512] of a window."""
    options = Options.of(spec)
    vector = _temporal(graph, features, spec, options)
    vector = graph.layer_norm(vector, NORM_EPS) if options.final_norm else vector
    return _linear(graph, vector, "head", spec.num_classes, 2.0)


def _temporal(graph: Graph[T], features: T, spec: ModelSpec, options: Options) -> T:
    """The vector [B, 512] of a window."""
    if options.temporal == "mean":
        return graph.mean(features, (1,))
    if options.temporal == "lstm":
        return last_state(graph, features, "temporal.sequence", WIDTH)
    position = graph.weight("temporal.position", (spec.frames + 1, WIDTH), 0.45)
    tokens = graph.add(graph.pad(features, 1, 1, 0), position)
    for block in range(options.depth):
        name = f"temporal.blocks.{block}"
        attend = _attend if block < options.depth - 1 else _attend_cls
        tokens = _mlp(graph, attend(graph, tokens, name, options.heads), name, options.mlp_width)
    return graph.reshape(tokens, (-1, WIDTH))


def _attend(graph: Graph[T], tokens: T, name: str, heads: int) -> T:
    """x + MSA(LN(x)) on all tokens [B, L, 512]."""
    length, width = graph.shape(tokens)[1], heads * HEAD_WIDTH
    qkv = _linear(graph, graph.layer_norm(tokens, NORM_EPS), f"{name}.qkv", 3 * width)
    qkv = graph.transpose(graph.reshape(qkv, (-1, length, 3 * heads, HEAD_WIDTH)), (0, 2, 1, 3))
    query, key, value = (graph.slice(qkv, 1, part * heads, (part + 1) * heads) for part in range(3))  # [B, 8, L, 64]
    attention = graph.softmax(graph.matmul(query, graph.transpose(key, (0, 1, 3, 2))))
    context = graph.transpose(graph.matmul(attention, value), (0, 2, 1, 3))
    out = _linear(graph, graph.reshape(context, (-1, length, width)), f"{name}.out", WIDTH, 0.5)
    return graph.add(tokens, out)


def _attend_cls(graph: Graph[T], tokens: T, name: str, heads: int) -> T:
    """The same for the cls token alone, [B, 1, 512], with keys and values absorbed."""
    cls, normed = graph.slice(tokens, 1, 0, 1), graph.layer_norm(tokens, NORM_EPS)
    width = heads * HEAD_WIDTH
    query = graph.reshape(
        _linear(graph, graph.slice(normed, 1, 0, 1), f"{name}.query", width), (-1, heads, 1, HEAD_WIDTH)
    )
    # Gain 8: the axes but the first are 64 x 512, fan-in is one of them.
    key = graph.weight(f"{name}.key", (heads, HEAD_WIDTH, WIDTH), math.sqrt(HEAD_WIDTH))
    asked = graph.reshape(graph.matmul(query, key), (-1, heads, WIDTH))
    attention = graph.softmax(graph.matmul(asked, graph.transpose(normed, (0, 2, 1))))  # [B, 8, L]
    context = graph.reshape(graph.matmul(attention, normed), (-1, heads, 1, WIDTH))
    value = graph.weight(f"{name}.value", (heads, WIDTH, HEAD_WIDTH), math.sqrt(HEAD_WIDTH))
    out = _linear(graph, graph.reshape(graph.matmul(context, value), (-1, 1, width)), f"{name}.out", WIDTH, 0.5)
    return graph.add(cls, out)


def _mlp(graph: Graph[T], tokens: T, name: str, width: int) -> T:
    """x + MLP(LN(x))."""
    hidden = _linear(graph, graph.layer_norm(tokens, NORM_EPS), f"{name}.fc_a", width)
    return graph.add(tokens, _linear(graph, graph.activate(hidden, "gelu"), f"{name}.fc_b", WIDTH, 0.5))
