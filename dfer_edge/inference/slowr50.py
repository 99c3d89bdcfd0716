"""SlowR50 and SlowR50-SA: exact inference form (paper 000, models.md section 1).

Folded: 53 batch norms into their convolutions; the self-attention head, which sees a single token, into one affine
2048 -> 512. With one key the softmax of the score is 1 whatever the query is, so every head returns its value slice and
``SA(x) = ReLU(W_fc (x + W_o (W_v x + b_v) + b_o) + b_fc) = ReLU(A x + c)``. Folding runs in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import forms
from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import Array, fold_norm, take
from dfer_edge.kernels.token_attention import Printed
from dfer_edge.kernels.token_attention import fold as fold_token_attention
from dfer_edge.spec import ModelSpec

# (blocks, inner channels, temporal kernel of the first convolution, spatial stride of the first block)
STAGES = ((3, 64, 1, 1), (4, 128, 1, 2), (6, 256, 3, 2), (3, 512, 3, 2))
EXPANSION = 4
SIMPLIFICATIONS = "batch norms folded; one-token attention folded into one affine map"
ATTENTION_WIDTH = 512

FRAME_STAGES = 2
"""Stages without a temporal kernel, res2 and res3: up to there frames do not see each other."""

APEX = "apex"
"""``options["pooling"]``: scores of frames are pooled by an attention over time that looks for the apex.

Not in the paper, which takes the mean over time ("mean", also where the option is absent). With l_t the logits of
frame t and one learnt vector v, ``w = softmax_t(v . l_t)`` and the logits of the clip are ``sum_t w_t l_t``: half a
second of expression in seconds of calm is not outvoted. One frame, or a constant one, gives what the mean gives.
"""


FRAMES = "frames"
"""``options["attention_tokens"]``: the attention reads the T vectors of the frames instead of their one mean.

Not in the paper, whose attention sees a single token ("pooled", also where the option is absent) and is therefore an
affine map. With y_t the mean of frame t over space, ``z = mean_t(y_t + MHA(y)_t)`` goes into the same two layers.
"""


def centred(spec: ModelSpec) -> bool:
    """``options["centre_taps"]``: temporal kernels whose outer taps are zero, so that frames never see each other.

    Exact: a 3x1x1 convolution with zeros outside is a 1x1x1 one. A sliding window then costs its new frames alone.
    """
    return bool(spec.options.get("centre_taps", False))


def scores_frames(spec: ModelSpec) -> bool:
    """Whether each frame has logits of its own, which the pooling over time weighs: all that windows need to share."""
    return centred(spec) and spec.options.get("pooling") == APEX and not reads_frames(spec)


def fold(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Weights of the inference form, float64, from the training form's state."""
    folded = fold_norm(state, "stem.conv", "stem.norm", "stem")
    for stage, (blocks, *_) in enumerate(STAGES):
        for block in range(blocks):
            name = f"stages.{stage}.{block}"
            for part in "abc":
                folded |= fold_norm(state, f"{name}.conv_{part}", f"{name}.norm_{part}", f"{name}.{part}")
            if centred(spec):
                folded[f"{name}.a.weight"] = _centre_tap(folded[f"{name}.a.weight"], name)
        name = f"stages.{stage}.0"
        folded |= fold_norm(state, f"{name}.shortcut_conv", f"{name}.shortcut_norm", f"{name}.shortcut")
    if reads_frames(spec):
        folded |= _fold_frame_attention(state, int(spec.options["attention_heads"]))  # type: ignore[arg-type]
    else:
        folded |= _fold_attention(state) if spec.options["attention_heads"] else _plain_head(state)
    return folded | ({"apex.weight": take(state, "apex.weight")} if spec.options.get("pooling") == APEX else {})


def _centre_tap(weight: Array, name: str) -> Array:
    """The middle of temporal kernels [O, I, k, 1, 1], whose outer taps must be zero."""
    middle = weight.shape[2] // 2
    centre = weight[:, :, middle : middle + 1]
    if np.delete(weight, middle, axis=2).any():
        raise InvalidInput(
            f"expected zeros outside the middle of the temporal kernels of {name}, as the spec's centre_taps says",
            "weights with motion need a spec without centre_taps",
        )
    return centre


def _plain_head(state: Mapping[str, Array]) -> dict[str, Array]:
    return {f"classifier.{kind}": take(state, f"head.classifier.{kind}") for kind in ("weight", "bias")}


def _fold_attention(state: Mapping[str, Array]) -> dict[str, Array]:
    width = len(take(state, "head.attention.out_proj.bias"))
    # in_proj stacks query, key and value; only the value part acts.
    value_weight = np.asarray(take(state, "head.attention.in_proj_weight", None)[2 * width :], np.float64)
    value_bias = take(state, "head.attention.in_proj_bias")[2 * width :]
    layers = ("attention.out_proj", "fc", "classifier")
    rest = (take(state, f"head.{layer}.{kind}") for layer in layers for kind in ("weight", "bias"))
    folded = fold_token_attention(Printed(value_weight, value_bias, *rest))
    return {"attention.weight": folded.weight, "attention.bias": folded.bias, **_plain_head(state)}


def reads_frames(spec: ModelSpec) -> bool:
    """Whether the attention has a token a frame."""
    return spec.options.get("attention_tokens") == FRAMES


def _fold_frame_attention(state: Mapping[str, Array], heads: int) -> dict[str, Array]:
    """The mean over queries commutes with the values: W_fc W_o W_v of each head reads tokens mixed by the mean row.

    Key biases drop out of the softmax; the scale is in the queries.
    """
    query, key, value = np.split(take(state, "head.attention.in_proj_weight"), 3)
    query_bias, _, value_bias = np.split(take(state, "head.attention.in_proj_bias"), 3)
    out, out_bias = (take(state, f"head.attention.out_proj.{kind}") for kind in ("weight", "bias"))
    hidden, hidden_bias = (take(state, f"head.fc.{kind}") for kind in ("weight", "bias"))
    scale, after = (len(query) // heads) ** -0.5, hidden @ out
    parts = [a @ v for a, v in zip(np.split(after, heads, axis=1), np.split(value, heads), strict=True)]
    return {
        "attention.query.weight": scale * query,
        "attention.query.bias": scale * query_bias,
        "attention.key.weight": key,
        "attention.weight": np.concatenate([hidden, *parts], axis=1),
        "attention.bias": hidden_bias + hidden @ out_bias + after @ value_bias,
        **_plain_head(state),
    }


def fold_head(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """An equal training form with its attention folded into ``head.fc``, without the tensors of :func:`folded_away`.

    ``head.fc`` becomes the A and c above, float64; everything else stays as it is. Together with
    ``folded_away(spec)`` it is a state of the training form with the same logits: 16.8 M values less to store.
    """
    if not spec.options["attention_heads"] or reads_frames(spec):
        return dict(state)
    folded = _fold_attention(state)
    kept = {name: value for name, value in state.items() if not name.startswith("head.attention.")}
    return kept | {f"head.fc.{kind}": folded[f"attention.{kind}"] for kind in ("weight", "bias")}


def folded_away(spec: ModelSpec) -> dict[str, Callable[[], Array]]:
    """What :func:`fold_head` leaves out, each as a function that makes it: an attention that adds exactly nothing.

    W_o is zero and W_v the identity. With both zero neither would ever get a gradient; so W_o gets one from the first
    step, and fine-tuning can move the attention again. W_q and W_k, which never act, are zero.
    """
    if not spec.options["attention_heads"] or reads_frames(spec):
        return {}
    width = STAGES[-1][1] * EXPANSION

    def values() -> Array:
        stacked = np.zeros((3 * width, width), np.float32)
        np.fill_diagonal(stacked[2 * width :], 1)
        return stacked

    return {
        "head.attention.in_proj_weight": values,
        "head.attention.in_proj_bias": lambda: np.zeros(3 * width, np.float32),
        "head.attention.out_proj.weight": lambda: np.zeros((width, width), np.float32),
        "head.attention.out_proj.bias": lambda: np.zeros(width, np.float32),
    }


def build(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Logits [B, K] of a normalised clip [B, 3, T, H, W]."""
    # The two parts without the step axis between them, which would cost a transposition in form 3d.
    x = _stages(graph, _stem(graph, inputs[0]), spec, spec.frames, 0, len(STAGES))
    return _pooled_head(graph, x, spec)


def step_features(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Features of n single frames [B, 3, n, H, W] that windows share.

    [B, n, 512, H / 8, W / 8] (rounded up), of stem, res2 and res3. With ``centre_taps`` the pooled vectors
    [B, n, 2048, 1, 1] of all stages, and with the pooling ``apex`` too the logits [B, n, K] of each frame.
    """
    frames = graph.shape(inputs[0])[2]
    if not centred(spec):
        return forms.leave(graph, _stages(graph, _stem(graph, inputs[0]), spec, frames, 0, FRAME_STAGES), frames)
    x = _stages(graph, _stem(graph, inputs[0]), spec, frames, 0, len(STAGES))
    if scores_frames(spec):
        return head(graph, forms.frame_means(graph, x, frames), spec)
    return graph.reshape(forms.frame_means(graph, x, frames), (-1, frames, STAGES[-1][1] * EXPANSION, 1, 1))


def window_head(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [B, K] of the features [B, T, ...] of a window: what is left of the stages, pooling, classifier."""
    if scores_frames(spec):
        return _at_apex(graph, features, spec)
    if centred(spec):
        return _clip_head(graph, graph.mean(features, (3, 4)), spec)
    x = _stages(graph, forms.enter_steps(graph, features), spec, spec.frames, FRAME_STAGES, len(STAGES))
    return _pooled_head(graph, x, spec)


def _pooled_head(graph: Graph[T], x: T, spec: ModelSpec) -> T:
    if spec.options.get("pooling") == APEX or reads_frames(spec):
        return _clip_head(graph, forms.frame_means(graph, x, spec.frames), spec)
    return head(graph, forms.global_mean(graph, x, spec.frames), spec)


def _stem(graph: Graph[T], clip: T) -> T:
    x = graph.relu(forms.spatial_conv(graph, forms.enter(graph, clip), "stem", 64, kernel=7, stride=2))
    return forms.spatial_max_pool(graph, x, kernel=3, stride=2)


def _stages(graph: Graph[T], x: T, spec: ModelSpec, frames: int, start: int, stop: int) -> T:
    for stage, (blocks, inner, temporal, stride) in list(enumerate(STAGES))[start:stop]:
        kernel = 1 if centred(spec) else temporal
        for block in range(blocks):
            step = stride if block == 0 else 1
            x = _bottleneck(graph, x, f"stages.{stage}.{block}", inner, kernel, step, frames, block == 0)
    return x


def _bottleneck(
    graph: Graph[T], x: T, name: str, inner: int, temporal: int, stride: int, frames: int, project: bool
) -> T:
    out = inner * EXPANSION
    identity = forms.spatial_conv(graph, x, f"{name}.shortcut", out, 1, stride, gain=1.0) if project else x
    if temporal > 1:
        y = forms.temporal_conv(graph, x, f"{name}.a", inner, temporal, frames)
    else:
        y = forms.spatial_conv(graph, x, f"{name}.a", inner, 1)
    y = graph.relu(forms.spatial_conv(graph, graph.relu(y), f"{name}.b", inner, 3, stride))
    # A small gain on the last convolution keeps random residual stacks from growing.
    y = forms.spatial_conv(graph, y, f"{name}.c", out, 1, gain=0.5)
    return graph.relu(graph.add(identity, y))


def _clip_head(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [B, K] from the vectors [B, T, 2048] of a clip's frames."""
    if reads_frames(spec):
        return _frame_attention(graph, features, spec)
    if spec.options.get("pooling") != APEX:
        return head(graph, graph.mean(features, (1,)), spec)
    return _at_apex(graph, head(graph, features, spec), spec)


def _at_apex(graph: Graph[T], logits: T, spec: ModelSpec) -> T:
    """Logits [B, K] of a clip from those [B, T, K] of its frames, see :data:`APEX`."""
    marks = graph.linear(logits, graph.weight("apex.weight", (1, spec.num_classes), 1.0), None)
    weights = graph.softmax(graph.transpose(marks, (0, 2, 1)))  # [B, 1, T]
    return graph.reshape(graph.matmul(weights, logits), (-1, spec.num_classes))


def _frame_attention(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [B, K] of the tokens [B, T, 2048]."""
    width, heads = STAGES[-1][1] * EXPANSION, int(spec.options["attention_heads"])  # type: ignore[arg-type]
    bias = graph.weight("attention.query.bias", (width,), 0.02)
    queries = graph.linear(features, graph.weight("attention.query.weight", (width, width), heads**-0.25), bias)
    keys = graph.linear(features, graph.weight("attention.key.weight", (width, width), heads**-0.25), None)
    shape = (-1, graph.shape(features)[1], heads, width // heads)
    queries, keys = (graph.transpose(graph.reshape(x, shape), (0, 2, 1, 3)) for x in (queries, keys))
    attention = graph.mean(graph.attention_weights(queries, keys), (2,))  # [B, heads, T]: how much each frame is read
    mixed = graph.reshape(graph.matmul(attention, features), (-1, heads * width))
    read = graph.concat([graph.mean(features, (1,)), mixed], 1)
    weight = graph.weight("attention.weight", (ATTENTION_WIDTH, (1 + heads) * width), 2.0)
    hidden = graph.relu(graph.linear(read, weight, graph.weight("attention.bias", (ATTENTION_WIDTH,), 0.02)))
    return _classify(graph, hidden, ATTENTION_WIDTH, spec)


def head(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [..., K] from pooled features [..., 2048]."""
    width = STAGES[-1][1] * EXPANSION
    if not spec.options["attention_heads"]:
        return _classify(graph, features, width, spec)
    if "token_attention" in graph.kernels:
        return graph.kernel("token_attention", features)
    weight = graph.weight("attention.weight", (ATTENTION_WIDTH, width), 2.0)
    x = graph.relu(graph.linear(features, weight, graph.weight("attention.bias", (ATTENTION_WIDTH,), 0.02)))
    return graph.place("token_attention", _classify(graph, x, ATTENTION_WIDTH, spec), features)


def _classify(graph: Graph[T], x: T, width: int, spec: ModelSpec) -> T:
    weight = graph.weight("classifier.weight", (spec.num_classes, width), 2.0)
    return graph.linear(x, weight, graph.weight("classifier.bias", (spec.num_classes,), 0.02))
