"""R(2+1)D-18 with spatio-temporal attention: exact inference form (paper 004, models.md section 5).

Dropped: the loss branch and its centres, which no logit reads, and the key biases, which add the same number to all
scores of a query and so leave its softmax alone. Folded in float64: 28 batch norms into their convolutions, and the
values of the attention into the classifier. The head is a mean and a linear layer, and the mean over queries of
``A V`` is ``W_v f^T a + b_v`` with ``a`` the column means of ``A``, which sum to 1. So with p = f + gamma (s + d)

    logits = W mean(f) + (gamma W W_s) f^T a_s + (gamma W W_d) f^T a_d + (b + gamma W (b_s + b_d)),

and neither p nor V nor ``A V`` is formed: beside W there remain two K x 256 matrices. A classifier on flattened p
(option ``classifier_input``) weighs every position differently; there only gamma is folded, into the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dfer_edge.inference import forms
from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import Array, fold_norm, take
from dfer_edge.spec import ModelSpec

SIMPLIFICATIONS = "loss branch dropped; batch norms folded; attention collapsed into the classifier"

STEM = (45, 64)
"""Channels of the stem between its two convolutions and after them."""

STAGES = ((64, 1), (128, 2), (256, 2))
"""Channels, and stride in time and space of the first block: layer1 to layer3; layer4 is cut."""

BLOCKS = 2
FEATURES = STAGES[-1][0]
QUERY_WIDTH = 32
AXES = ("space", "time")


def mid_channels(channels: int, out: int) -> int:
    """Channels between the two halves of a (2+1)D convolution with the size of a full 3x3x3 one."""
    return 27 * channels * out // (9 * channels + 3 * out)


def blocks() -> list[tuple[str, int, int, int]]:
    """Name, input channels, output channels and stride of each residual block, in order."""
    table, channels = [], STEM[1]
    for stage, (out, stride) in enumerate(STAGES):
        for block in range(BLOCKS):
            table.append((f"stages.{stage}.{block}", channels, out, stride if block == 0 else 1))
            channels = out
    return table


def fold(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Weights of the inference form, float64, from the training form's state."""
    folded = _fold_halves(state, "stem")
    for name, channels, out, _ in blocks():
        folded |= _fold_halves(state, f"{name}.conv_a") | _fold_halves(state, f"{name}.conv_b")
        if channels != out:
            folded |= fold_norm(state, f"{name}.shortcut_conv", f"{name}.shortcut_norm", f"{name}.shortcut")
    folded |= _fold_queries(state, scaled=bool(spec.options["att_scale"]))
    return folded | (_fold_pooled(state) if spec.options["classifier_input"] == "pooled" else _fold_flat(state))


def _fold_halves(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    halves = (f"{name}.spatial", f"{name}.temporal")
    return {key: value for half in halves for key, value in fold_norm(state, half, f"{half}_norm", half).items()}


def _stack(state: Mapping[str, Array], part: str) -> Array:
    """A projection of both attentions, space first: [2 * out, 256], or [2 * out] for a bias."""
    stacked = np.concatenate([take(state, f"attention.{axis}.{part}") for axis in AXES])
    return stacked.reshape(stacked.shape[:2])


def _fold_queries(state: Mapping[str, Array], scaled: bool) -> dict[str, Array]:
    scale = QUERY_WIDTH**-0.5 if scaled else 1.0
    return {
        "query.weight": scale * _stack(state, "query.weight"),
        "query.bias": scale * _stack(state, "query.bias"),
        "key.weight": _stack(state, "key.weight"),
    }


def _fold_pooled(state: Mapping[str, Array]) -> dict[str, Array]:
    gamma, weight = take(state, "attention.gamma"), take(state, "classifier.weight")
    # (K, 256) times (256, 256) for either axis; blocks read mean(f), f^T a_s, f^T a_d in this order.
    merged = [gamma * weight @ value for value in np.split(_stack(state, "value.weight"), 2)]
    values_bias = sum(np.split(_stack(state, "value.bias"), 2))
    return {
        "classifier.weight": np.concatenate([weight, *merged], axis=1),
        "classifier.bias": take(state, "classifier.bias") + gamma * (weight @ values_bias),
    }


def _fold_flat(state: Mapping[str, Array]) -> dict[str, Array]:
    gamma, weight = take(state, "attention.gamma"), take(state, "classifier.weight")
    # [K, C * T * H * W] -> [K, T * H * W * C], the order of tokens.
    by_token = weight.reshape(len(weight), FEATURES, -1).transpose(0, 2, 1).reshape(weight.shape)
    return {
        "value.weight": gamma * _stack(state, "value.weight"),
        "value.bias": gamma * _stack(state, "value.bias"),
        "classifier.weight": by_token,
        "classifier.bias": take(state, "classifier.bias"),
    }


def build(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Logits [B, K] of a normalised clip [B, 3, T, H, W]."""
    tokens = trunk(graph, inputs[0])
    maps = attention_maps(graph, tokens, share=bool(spec.options["att_share"]))
    head = _pooled_head if spec.options["classifier_input"] == "pooled" else _flat_head
    return head(graph, tokens, maps, spec.num_classes)


def trunk(graph: Graph[T], clip: T) -> T:
    """Feature map f as tokens [B, T / 4, H / 8 * W / 8, 256], each size rounded up."""
    frames = graph.shape(clip)[2]
    x = _conv2plus1d(graph, forms.enter(graph, clip), "stem", STEM, frames, kernel=7, strides=(2, 1))
    x = graph.relu(x)
    for name, channels, out, stride in blocks():
        x = _block(graph, x, name, (channels, out), frames, stride)
        frames = -(-frames // stride)
    return forms.tokens(graph, x, frames)


def _block(graph: Graph[T], x: T, name: str, channels: tuple[int, int], frames: int, stride: int) -> T:
    identity, out = x, channels[1]
    if channels[0] != out:
        identity = forms.pointwise_conv(graph, x, f"{name}.shortcut", out, frames, stride, gain=1.0)
    widths = (mid_channels(*channels), out)
    y = graph.relu(_conv2plus1d(graph, x, f"{name}.conv_a", widths, frames, strides=(stride, stride)))
    # A small gain on the last convolution keeps random residual stacks from growing.
    y = _conv2plus1d(graph, y, f"{name}.conv_b", widths, -(-frames // stride), gain=0.5)
    return graph.relu(graph.add(identity, y))


def _conv2plus1d(
    graph: Graph[T],
    x: T,
    name: str,
    widths: tuple[int, int],
    frames: int,
    kernel: int = 3,
    strides: tuple[int, int] = (1, 1),
    gain: float = 2**0.5,
) -> T:
    """1 x k x k, ReLU, 3 x 1 x 1; ``strides`` of the first in space and of the second in time."""
    x = graph.relu(forms.spatial_conv(graph, x, f"{name}.spatial", widths[0], kernel, strides[0]))
    return forms.temporal_conv(graph, x, f"{name}.temporal", widths[1], 3, frames, strides[1], gain)


def attention_maps(graph: Graph[T], tokens: T, share: bool) -> tuple[T, T]:
    """Softmax maps over space [B, T, HW, HW] and time [B, HW, T, T]; with ``share`` one of each: [B, 1, ., .]."""
    width = len(AXES) * QUERY_WIDTH
    bias = graph.weight("query.bias", (width,), 0.02)
    queries = graph.linear(tokens, graph.weight("query.weight", (width, FEATURES), 0.5), bias)
    keys = graph.linear(tokens, graph.weight("key.weight", (width, FEATURES), 0.5), None)
    (q_space, q_time), (k_space, k_time) = (_by_axis(graph, x, QUERY_WIDTH) for x in (queries, keys))
    return _map(graph, q_space, k_space, share), _map(graph, q_time, k_time, share)


def _by_axis(graph: Graph[T], x: T, width: int) -> tuple[T, T]:
    """[B, T, HW, 2 * width] -> space [B, T, HW, width], time [B, HW, T, width]."""
    time = graph.slice(x, 3, width, 2 * width)
    return graph.slice(x, 3, 0, width), graph.transpose(time, (0, 2, 1, 3))


def _map(graph: Graph[T], queries: T, keys: T, share: bool) -> T:
    """Attention among N tokens in each of G groups, [B, G, N, d] -> [B, G, N, N]."""
    if share:
        _, groups, count, width = graph.shape(queries)
        queries, keys = (
            graph.reshape(graph.transpose(x, (0, 2, 1, 3)), (-1, 1, count, groups * width)) for x in (queries, keys)
        )
    return graph.attention_weights(queries, keys)


def _pooled_head(graph: Graph[T], tokens: T, maps: tuple[T, T], num_classes: int) -> T:
    _, frames, places, _ = graph.shape(tokens)
    # Column means, each divided by the number of maps that it is averaged over; a shared map serves all of them.
    space = graph.mul(graph.mean(maps[0], (2,)), graph.constant(np.full((1, frames, 1), 1 / frames)))
    time = graph.mean(maps[1], (2,))  # [B, HW or 1, T]
    # OpenVINO 2026 loses the transpose of a unit axis behind a mean and then refuses the shapes; a reshape it keeps.
    time = graph.reshape(time, (-1, frames, 1)) if graph.shape(maps[1])[1] == 1 else graph.transpose(time, (0, 2, 1))
    time = graph.mul(time, graph.constant(np.full((1, 1, places), 1 / places)))
    flat = (-1, 1, frames * places)
    columns = graph.concat([graph.reshape(space, flat), graph.reshape(time, flat)], 1)  # [B, 2, T * HW]
    pooled = graph.matmul(columns, graph.reshape(tokens, (-1, frames * places, FEATURES)))
    x = graph.concat([graph.mean(tokens, (1, 2)), graph.reshape(pooled, (-1, 2 * FEATURES))], 1)
    return _classify(graph, x, 3 * FEATURES, num_classes)


def _flat_head(graph: Graph[T], tokens: T, maps: tuple[T, T], num_classes: int) -> T:
    _, frames, places, _ = graph.shape(tokens)
    weight = graph.weight("value.weight", (2 * FEATURES, FEATURES), 0.5)
    values = graph.linear(tokens, weight, graph.weight("value.bias", (2 * FEATURES,), 0.02))
    space, time = (graph.matmul(*pair) for pair in zip(maps, _by_axis(graph, values, FEATURES), strict=True))
    p = graph.add(tokens, graph.add(space, graph.transpose(time, (0, 2, 1, 3))))
    width = frames * places * FEATURES
    return _classify(graph, graph.reshape(p, (-1, width)), width, num_classes)


def _classify(graph: Graph[T], x: T, width: int, num_classes: int) -> T:
    weight = graph.weight("classifier.weight", (num_classes, width), 2.0)
    return graph.linear(x, weight, graph.weight("classifier.bias", (num_classes,), 0.02))
