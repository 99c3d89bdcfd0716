"""VGG16 base, SEFER, CBAMFER and AGFER: exact inference form (paper 002, models.md section 3).

Dropout and the guidance mask act in training only and vanish. There is no batch norm and no pair of linear layers to
merge, so weights keep their names and values. The SE gate is one non-negative factor a channel: rounding is monotonic,
so it commutes with max pooling bit for bit and runs on the four times smaller pooled map. CBAM and AG gates differ from
pixel to pixel and stay before the pooling.

Each ``*_gate_pool`` function is a whole gate site, from feature map to pooled map: what a fused kernel replaces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import Array, take
from dfer_edge.inference.symbolic import SymbolicGraph
from dfer_edge.spec import ModelSpec

# (3x3 convolutions, channels, is there a gate before the pooling)
STAGES = ((2, 64, False), (2, 128, True), (3, 256, True), (3, 512, True), (3, 512, False))
FC_WIDTH = 4096
CBAM_KERNEL = 7
GATES = ("none", "se", "cbam", "ag", "ag_residual")
_KERNEL_KINDS = {"ag": "agfer"}
SIMPLIFICATIONS = "dropout and guidance mask dropped; SE gate applied after the max pooling"


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The checked options of a spec.

    Attributes
    ----------
    gate
        ``"none"`` (base), ``"se"``, ``"cbam"`` or ``"ag"``; or ``"ag_residual"``, ours: the layers of ``"ag"`` with
        tanh in place of the two inner sigmoids, and 1 + a s in place of the outer one. It weakens and strengthens, 0
        to 2, where the printed gate stays within 0.5 and 0.7311.
    reduction
        R of the channel MLPs C -> C/R -> C. The paper prints no R. It says that CBAMFER has 0.1 % more learnables
        than AGFER; the difference is 689,024/R + 734, which R = 2 makes 0.1 % (0.078 %), and with pool5 R = 4 or 8
        too: nothing tells them apart. The 16 usual for SE and CBAM gives 0.01 %.
    spatial_channels
        Inner channels of the AG gate's two 3x3 convolutions: m + 1 = 8 for the paper's m = 7 classes. It stays 8 for
        other class counts, so that trained gates carry over to another head.
    keep_pool5
        The fifth max pooling. The paper removes it (14x14 instead of 7x7 into fc6) and keeps it as an ablation.
    features
        Length of the flattened feature map, 512 x 14 x 14 by default. Plain flattening, no adaptive pooling: the
        text has fc6 grow with the map.
    """

    gate: str
    reduction: int
    spatial_channels: int
    keep_pool5: bool
    features: int


def architecture(spec: ModelSpec) -> Architecture:
    """The options of ``spec``, checked.

    Raises
    ------
    InvalidInput
        If an option has a value that no network of this family can be built with.
    """
    gate, keep_pool5 = spec.options["gate"], spec.options["keep_pool5"]
    if gate not in GATES:
        raise InvalidInput(f"expected gate out of {', '.join(GATES)}; got {gate!r}")
    if not isinstance(keep_pool5, bool):
        raise InvalidInput(f"expected keep_pool5 True or False, got {keep_pool5!r}")
    narrowest = min(channels for _, channels, gated in STAGES if gated)
    reduction = _positive(spec, "reduction", 2)
    if narrowest % reduction:
        raise InvalidInput(f"expected a reduction that divides {narrowest}, got {reduction}")
    spatial_channels = _positive(spec, "spatial_channels", 8)
    side = spec.size >> (5 if keep_pool5 else 4)
    if side < 1:
        raise InvalidInput(f"expected images of at least {32 if keep_pool5 else 16} pixels, got size {spec.size}")
    return Architecture(str(gate), reduction, spatial_channels, keep_pool5, STAGES[-1][1] * side * side)


def _positive(spec: ModelSpec, name: str, default: int) -> int:
    value = spec.options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"expected a positive whole number for {name}, got {value!r}")
    return value


def fold(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Weights of the inference form: those of the training form, uncopied and in their dtype.

    Nothing is computed, so nothing is widened to float64: fc6 alone has 411 M elements.
    """
    graph = SymbolicGraph()
    build(graph, [graph.input("image", spec.input_shape)], spec)
    return {name: take(state, name, dtype=None) for name in graph.weights}


def build(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec) -> T:
    """Logits [B, K] of normalised images [B, 3, H, W]."""
    arch = architecture(spec)
    x = inputs[0]
    for stage, (depth, channels, gated) in enumerate(STAGES):
        for layer in range(depth):
            x = graph.relu(_conv(graph, x, f"stages.{stage}.{layer}", channels, 3, 2**0.5))
        if gated and arch.gate != "none":
            x = gate_pool(graph, x, f"gates.{stage}", arch)
        elif stage < len(STAGES) - 1 or arch.keep_pool5:
            x = _pool(graph, x)
    return head(graph, graph.reshape(x, (-1, arch.features)), spec)


def head(graph: Graph[T], features: T, spec: ModelSpec) -> T:
    """Logits [B, K] of flattened feature maps [B, features], channels first."""
    x = graph.relu(_linear(graph, features, "head.fc6", FC_WIDTH, 2**0.5))
    x = graph.relu(_linear(graph, x, "head.fc7", FC_WIDTH, 2**0.5))
    return _linear(graph, x, "head.fc8", spec.num_classes, 2.0)


def gate_pool(graph: Graph[T], x: T, name: str, arch: Architecture) -> T:
    """Gate and 2x2 max pooling: [B, C, H, W] -> [B, C, H/2, W/2]."""
    if arch.gate == "ag_residual":
        return _pool(graph, graph.mul(x, _residual_gate(graph, x, name, arch)))
    kind = _KERNEL_KINDS.get(arch.gate, arch.gate)
    if "attention_gate" in graph.kernels:
        return graph.kernel("attention_gate", x, weights=name, kind=kind)
    if arch.gate == "se":
        pooled = se_gate_pool(graph, x, name, arch.reduction)
    elif arch.gate == "cbam":
        pooled = cbam_gate_pool(graph, x, name, arch.reduction)
    else:
        pooled = ag_gate_pool(graph, x, name, arch.reduction, arch.spatial_channels)
    return graph.place("attention_gate", pooled, x, weights=name, kind=kind)


def _residual_gate(graph: Graph[T], x: T, name: str, arch: Architecture) -> T:
    """1 + tanh(a) tanh(s), [B, C, H, W]: factors of :class:`dfer_edge.models.vgg.ResidualGate`."""
    a = _channel_mlp(graph, graph.mean(x, (2, 3)), f"{name}.channel", arch.reduction)
    hidden = _conv(graph, graph.mean(x, (1,), keepdims=True), f"{name}.spatial1", arch.spatial_channels, 3, 2**0.5)
    s = _conv(graph, graph.relu(hidden), f"{name}.spatial2", 1, 3, 1.0)
    gate = graph.mul(graph.activate(_per_channel(graph, a), "tanh"), graph.activate(s, "tanh"))
    return graph.add(gate, graph.constant(1.0))


def se_gate_pool(graph: Graph[T], x: T, name: str, reduction: int) -> T:
    """maxpool(x) sig(F2 relu F1 GAP(x)), with the mean over the full map."""
    scores = _channel_mlp(graph, graph.mean(x, (2, 3)), f"{name}.channel", reduction)
    return graph.mul(_pool(graph, x), _per_channel(graph, graph.activate(scores, "sigmoid")))


def cbam_gate_pool(graph: Graph[T], x: T, name: str, reduction: int) -> T:
    """maxpool(y sig(conv7x7([CGMP(y), CGAP(y)]))) of y = x sig(MLP(GAP(x)) + MLP'(GMP(x)))."""
    average = _channel_mlp(graph, graph.mean(x, (2, 3)), f"{name}.average", reduction)
    maximum = _channel_mlp(graph, graph.max(x, (2, 3)), f"{name}.maximum", reduction)
    channel = graph.activate(graph.add(average, maximum), "sigmoid")
    y = graph.mul(x, _per_channel(graph, channel))
    planes = graph.concat([graph.max(y, (1,), keepdims=True), graph.mean(y, (1,), keepdims=True)], 1)  # [B, 2, H, W]
    spatial = graph.activate(_conv(graph, planes, f"{name}.spatial", 1, CBAM_KERNEL, 1.0), "sigmoid")
    return _pool(graph, graph.mul(y, spatial))


def ag_gate_pool(graph: Graph[T], x: T, name: str, reduction: int, spatial_channels: int) -> T:
    """maxpool(x sig(a s)): a = sig(F2 relu F1 GAP(x)) by channel, s = sig(conv3x3 relu conv3x3 CGAP(x)) by pixel."""
    a = graph.activate(_channel_mlp(graph, graph.mean(x, (2, 3)), f"{name}.channel", reduction), "sigmoid")
    plane = graph.mean(x, (1,), keepdims=True)  # [B, 1, H, W]
    hidden = graph.relu(_conv(graph, plane, f"{name}.spatial1", spatial_channels, 3, 2**0.5))
    s = graph.activate(_conv(graph, hidden, f"{name}.spatial2", 1, 3, 1.0), "sigmoid")
    gate = graph.activate(graph.mul(_per_channel(graph, a), s), "sigmoid")  # [B, C, H, W], within (0.5, 0.7311)
    return _pool(graph, graph.mul(x, gate))


def _channel_mlp(graph: Graph[T], pooled: T, name: str, reduction: int) -> T:
    channels = graph.shape(pooled)[1]
    hidden = graph.relu(_linear(graph, pooled, f"{name}.fc1", channels // reduction, 2**0.5))
    return _linear(graph, hidden, f"{name}.fc2", channels, 1.0)


def _per_channel(graph: Graph[T], x: T) -> T:
    return graph.reshape(x, (-1, graph.shape(x)[1], 1, 1))


def _pool(graph: Graph[T], x: T) -> T:
    return graph.max_pool(x, (2, 2), (2, 2), (0, 0))


def _conv(graph: Graph[T], x: T, name: str, out: int, kernel: int, gain: float) -> T:
    weight = graph.weight(f"{name}.weight", (out, graph.shape(x)[1], kernel, kernel), gain)
    return graph.conv(x, weight, graph.weight(f"{name}.bias", (out,), 0.02), (1, 1), (kernel // 2, kernel // 2))


def _linear(graph: Graph[T], x: T, name: str, out: int, gain: float) -> T:
    weight = graph.weight(f"{name}.weight", (out, graph.shape(x)[1]), gain)
    return graph.linear(x, weight, graph.weight(f"{name}.bias", (out,), 0.02))
