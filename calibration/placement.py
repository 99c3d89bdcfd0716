"""Placement: which layers compute in int8, which tensors get a scale, and for each that does not, why.

The rules are TensorRT's, and OpenVINO's fusions follow from the same places:

- all inputs of a convolution or matrix product are quantised, its output is not: bias, ReLU and the next layer's Q are
  one kernel with it;
- a residual sum gets a scale on the identity branch only; an identity that feeds the next convolution shares its scale,
  a projection has one of its own;
- Q stands before transpositions, slices, concatenations and max pooling, so that int8 bytes move, and all parts of a
  concatenation share a scale;
- a product of few rows reads its weights from memory once for little work: int8 weights, float arithmetic;
- softmax, layer norm, products of two activations and the classifier stay float.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Literal

import onnx

from dfer_edge.calibration.graph import GraphIndex, attribute
from dfer_edge.errors import CalibrationError

Kind = Literal["int8", "weights", "float"]

# Vector units and tensor cores work on 16 channels at least.
_LEAST_WIDTH = 16
# A product of fewer rows takes as long as reading its weights does, if they are many.
_FEW_ROWS = 32
_MANY_WEIGHTS = 1 << 19


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution or a product with a weight.

    Attributes
    ----------
    node
        Its output tensor, which is unique in a graph.
    name
        Of its weight in the file.
    kind
        ``int8``, ``weights`` (int8 in memory, float arithmetic) or ``float``.
    reason
        Why it is not int8; empty if it is.
    origins
        Tensors that carry its input's scale.
    """

    node: str
    name: str
    kind: Kind
    reason: str
    origins: tuple[str, ...]

    @property
    def place(self) -> str:
        """Key of the input's range, the same in every conv form."""
        return f"{self.name}:input"


@dataclasses.dataclass(frozen=True)
class Residual:
    """A sum whose identity branch is quantised so that the convolution before the sum absorbs it.

    Attributes
    ----------
    node
        Output tensor of the sum.
    operand
        Which of its inputs is the identity.
    place
        Key of the range; None if the identity has the scale of a layer's input.
    origin
        The tensor that carries the scale.
    """

    node: str
    operand: int
    place: str | None
    origin: str


@dataclasses.dataclass(frozen=True)
class Placement:
    """The plan of one graph.

    Attributes
    ----------
    layers
        All convolutions and products, in order.
    residuals
        Sums with a quantised identity.
    """

    layers: tuple[Layer, ...]
    residuals: tuple[Residual, ...]

    def places(self) -> dict[str, tuple[str, ...]]:
        """Key of each range that the plan needs -> tensors that it is taken over."""
        found: dict[str, tuple[str, ...]] = {}
        for layer in self.layers:
            if layer.kind == "int8":
                # A weight may be used twice; its place covers both inputs.
                found[layer.place] = tuple(dict.fromkeys((*found.get(layer.place, ()), *layer.origins)))
        for residual in self.residuals:
            if residual.place is not None:
                found[residual.place] = (residual.origin,)
        return found

    def rows(self) -> list[dict[str, str]]:
        """One row a layer: name, kind, reason."""
        return [{"layer": layer.name, "kind": layer.kind, "reason": layer.reason} for layer in self.layers]


def plan(index: GraphIndex, exclude: Collection[str] = ()) -> Placement:
    """Apply the rules to a graph.

    Parameters
    ----------
    index
        A float network.
    exclude
        Names of weights whose layers stay float.

    Raises
    ------
    CalibrationError
        For a graph that is quantised already, has nothing to quantise or lacks a weight in ``exclude``.
    """
    operators = {node.op_type for node in index.model.graph.node}
    if quantised := operators & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}:
        raise CalibrationError(f"expected a float network, got one with {', '.join(sorted(quantised))}")
    rules = _Rules(index, frozenset(exclude))
    layers = [layer for node in index.model.graph.node if (layer := rules.layer(node))]
    if not layers:
        raise CalibrationError("expected a network with convolutions or matrix products, found none")
    if unknown := sorted(set(exclude) - {layer.name for layer in layers}):
        raise CalibrationError(f"expected exclusions to be weights of the network, {unknown[0]!r} is none")
    residuals = _residuals(index, layers)
    return Placement(tuple(layers), tuple(residuals))


class _Rules:
    def __init__(self, index: GraphIndex, exclude: frozenset[str]) -> None:
        self._index, self._exclude = index, exclude
        self._shapes = index.shapes()

    def layer(self, node: onnx.NodeProto) -> Layer | None:
        """The layer that ``node`` is; None for other nodes."""
        if node.op_type not in ("Conv", "Gemm") or (weight := self._index.weight(node.input[1])) is None:
            return None
        kind, reason = self._kind(node, weight)
        return Layer(node.output[0], weight, kind, reason, tuple(self._index.origins(node.input[0])))

    def _kind(self, node: onnx.NodeProto, weight: str) -> tuple[Kind, str]:
        if weight in self._exclude:
            return "float", "excluded: int8 cost too much accuracy here"
        return self._conv(node, weight) if node.op_type == "Conv" else self._gemm(node, weight)

    def _conv(self, node: onnx.NodeProto, weight: str) -> tuple[Kind, str]:
        if attribute(node, "group", 1) != 1:
            return "float", "grouped convolution: too few products a channel"
        width = self._index.constants[weight].dims[0]
        if width < _LEAST_WIDTH:
            return "float", f"{width} output channels: vector units work on {_LEAST_WIDTH}"
        return "int8", ""

    def _gemm(self, node: onnx.NodeProto, weight: str) -> tuple[Kind, str]:
        dims = self._index.constants[weight].dims
        transposed = attribute(node, "transB", 0) == 1
        if not transposed or attribute(node, "transA", 0) or len(dims) != 2:
            return "float", "matrix product in a layout without int8 kernels"
        if self._is_output(node.output[0]):
            return "float", "classifier: its error goes straight into the scores"
        if min(dims) < _LEAST_WIDTH:
            return "float", f"{min(dims)} channels: vector units work on {_LEAST_WIDTH}"
        rows = self._shapes.get(node.output[0], (0,))[0]
        if rows >= _FEW_ROWS:
            return "int8", ""
        if dims[0] * dims[1] >= _MANY_WEIGHTS:
            return "weights", f"{rows} rows a sample: the time goes into reading weights"
        return "float", f"{rows} rows a sample and {dims[0] * dims[1]} weights: nothing to gain"

    def _is_output(self, tensor: str) -> bool:
        outputs = {value.name for value in self._index.model.graph.output}
        readers = self._index.consumers[tensor]
        return tensor in outputs or any(n.op_type == "Identity" and n.output[0] in outputs for n in readers)


def _residuals(index: GraphIndex, layers: list[Layer]) -> list[Residual]:
    convs = {layer.node: layer for layer in layers if layer.kind == "int8"}
    carriers = {origin for layer in convs.values() for origin in layer.origins}
    found = []
    for node in index.model.graph.node:
        if node.op_type != "Add" or any(name in index.constants for name in node.input):
            continue
        makers = [index.maker(name) for name in node.input]
        from_conv = [maker is not None and maker.output[0] in convs for maker in makers]
        if not any(from_conv):
            continue
        # Of two convolutions the first is the projection: the branch is computed after it.
        operand = 0 if all(from_conv) else from_conv.index(False)
        origins = index.origins(node.input[operand])
        if len(origins) != 1:
            continue
        if all(from_conv):
            found.append(Residual(node.output[0], operand, f"{convs[origins[0]].name}:output", origins[0]))
        elif origins[0] in carriers:
            found.append(Residual(node.output[0], operand, None, origins[0]))
    return found
