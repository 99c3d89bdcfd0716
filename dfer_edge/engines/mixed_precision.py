"""Half precision written into the ONNX file itself, with islands that stay fp32: what strongly typed networks need.

TensorRT from 10.12 on takes every type from the file. Products, activations and what is quantised compute in fp16; the
islands compute in fp32: normalisation, softmax and the product that feeds it, exponentials and the arithmetic that
feeds them, means, and the last layer. Squares, sums and unscaled scores leave fp16's range or its 11 bits there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dfer_edge.engines.external import header, tensor_array
from dfer_edge.errors import PrecisionUnavailable
from dfer_edge.inference.onnx_writer import ExternalData
from dfer_edge.inference.pixels import PREFIX

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

_ISLANDS = {"LayerNormalization", "Softmax", "Exp", "ReduceMean"}
_FED = {"Softmax", "Exp"}
# What may lie between such a node and the product that feeds it.
_LIGHT = {"Add", "Sub", "Mul", "Div", "Reshape", "Transpose", "Slice", "Pad", "Concat"}
_QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}
# Opset from which the scales of quantisers may be fp16.
_HALF_SCALES_OPSET = 19
_INSIDE_BELOW_BYTES = 1024
_SMALLEST_HALF = float(np.finfo(np.float16).smallest_subnormal)


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether a file carries explicit quantisation (Q/DQ)."""
    return any(node.op_type in _QUANTISERS for node in model.graph.node)


def islands(model: onnx.ModelProto) -> set[str]:
    """What computes in fp32 in a half-precision network: nodes, by their first output, which always has a name."""
    producers = {output: node for node in model.graph.node for output in node.output}
    # The normalisation of pixels too: its first node says what type it casts to.
    found = {node.output[0] for node in model.graph.node if node.op_type in _ISLANDS or node.name.startswith(PREFIX)}
    queue = [name for node in model.graph.node if node.op_type in _FED for name in node.input]
    while queue:
        node = producers.get(queue.pop())
        if node is None or node.output[0] in found or node.op_type not in _LIGHT | {"MatMul"}:
            continue
        found.add(node.output[0])
        if node.op_type in _LIGHT:
            queue += node.input
    for output in model.graph.output:
        last = producers[output.name]
        found.add(last.output[0])
        before = producers.get(last.input[0])
        if last.op_type == "Identity" and before is not None and before.op_type == "Gemm":
            found.add(before.output[0])
    return found


def write_half(source: Path, target: Path) -> None:
    """Write ``source`` with fp16 weights and explicit casts; inputs and outputs stay fp32.

    Weights go beside ``target``, one tensor at a time.

    Raises
    ------
    PrecisionUnavailable
        If a weight is beyond fp16's range.
    """
    _Converter(header(source), source.parent).write(target)


class _Converter:
    """Walks the nodes in order and keeps, for each tensor, the names of its fp32 and fp16 versions."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.fp32 = islands(model)
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.needed: dict[str, set[int]] = {}
        self.versions: dict[str, dict[int, str]] = {
            value.name: {FLOAT: value.name} if value.type.tensor_type.elem_type == FLOAT else {}
            for value in model.graph.input
        }
        self.nodes: list[onnx.NodeProto] = []
        self.extra: list[TensorProto] = []
        self.scales = {node.input[1] for node in model.graph.node if node.op_type in _QUANTISERS}

    def write(self, target: Path) -> None:
        quantised = is_quantised(self.model)
        for node in self.model.graph.node:
            self._convert(node, quantised)
        for value in self.model.graph.output:
            if self.versions[value.name].get(FLOAT) != value.name:
                raise AssertionError(f"{value.name} is an output and its node is an island")
        graph, model = onnx.GraphProto(), onnx.ModelProto()
        graph.CopyFrom(self.model.graph)
        for field in ("node", "initializer", "value_info"):
            graph.ClearField(field)
        graph.node.extend(self.nodes)
        with ExternalData(target) as data:
            graph.initializer.extend([*self._initializers(data), *self.extra])
        model.CopyFrom(self.model)
        model.graph.CopyFrom(graph)
        if quantised:
            _raise_opset(model)
        target.write_bytes(model.SerializeToString())

    def _convert(self, node: onnx.NodeProto, quantised: bool) -> None:
        wanted = FLOAT if node.output[0] in self.fp32 else HALF
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            copy.input[index] = self._version(name, wanted) if name else name
        if quantised and node.op_type in ("ReduceMean", "ReduceMax"):
            self._axes_as_input(copy)
        self.nodes.append(copy)
        floats = node.op_type != "QuantizeLinear"
        for output in node.output:
            self.versions[output] = {wanted: output} if floats else {}

    def _version(self, name: str, wanted: int) -> str:
        """The name of ``name`` in a type, cast or stored so now if it is not yet; integers keep theirs."""
        if name in self.weights:
            if self.weights[name].data_type != FLOAT:
                self.needed.setdefault(name, set()).add(self.weights[name].data_type)
                return name
            self.needed.setdefault(name, set()).add(wanted)
            return name if wanted == HALF else f"{name}_fp32"
        known = self.versions[name]
        if not known or wanted in known:
            return known.get(wanted, name)
        known[wanted] = f"{name}_{'fp32' if wanted == FLOAT else 'fp16'}"
        cast = helper.make_node("Cast", [next(iter(known.values()))], [known[wanted]], known[wanted], to=wanted)
        self.nodes.append(cast)
        return known[wanted]

    def _initializers(self, data: ExternalData) -> Iterable[TensorProto]:
        for name, types in self.needed.items():
            tensor = self.weights[name]
            for kind in sorted(types):
                if kind not in (FLOAT, HALF):
                    yield _stored(data, name, numpy_helper.to_array(tensor, str(self.folder)))
                    continue
                array = tensor_array(tensor, self.folder)
                narrow = kind == HALF
                yield _stored(data, name if narrow else f"{name}_fp32", self._half(name, array) if narrow else array)

    def _half(self, name: str, array: Any) -> Any:
        with np.errstate(over="ignore", under="ignore"):
            half = array.astype(np.float16)
        if not np.isfinite(half).all():
            largest = float(np.abs(array).max())
            raise PrecisionUnavailable(f"expected weights within fp16's range of 65504, got {largest:g} in {name!r}")
        # A scale may become coarse, never zero: the channel behind it is as good as dead.
        return np.maximum(half, np.float16(_SMALLEST_HALF)) if name in self.scales else half

    def _axes_as_input(self, node: onnx.NodeProto) -> None:
        """Reductions read their axes from an input from opset 18 on."""
        attributes = [a for a in node.attribute if a.name == "axes"]
        if attributes:
            name = f"{node.output[0]}_axes"
            self.extra.append(numpy_helper.from_array(np.asarray(attributes[0].ints, np.int64), name))
            node.attribute.remove(attributes[0])
            node.input.append(name)


def _stored(data: ExternalData, name: str, array: Any) -> TensorProto:
    # Shapes and the like stay inside the file, where parsers look for them.
    return numpy_helper.from_array(array, name) if array.nbytes < _INSIDE_BELOW_BYTES else data.add(name, array)


def _raise_opset(model: onnx.ModelProto) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, _HALF_SCALES_OPSET)
    model.ir_version = max(model.ir_version, 9)
