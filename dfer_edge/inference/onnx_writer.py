"""From a recorded inference form and its weights to an ONNX model (opset 17, readable by TensorRT 10.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.folding import Array
from dfer_edge.inference.symbolic import SymbolicGraph, Value

OPSET = 17
IR_VERSION = 8


def to_onnx(
    graph: SymbolicGraph,
    inputs: Sequence[Value],
    output: Value,
    weights: Mapping[str, Array],
    metadata: Mapping[str, str],
    batch: int | str = "batch",
) -> onnx.ModelProto:
    """The model with fp32 weights inside.

    Parameters
    ----------
    graph, inputs, output
        The recording.
    weights
        Arrays by parameter name, in the 3-D layout.
    metadata
        Goes into ``metadata_props``.
    batch
        Name of the dynamic leading axis, or a fixed batch size.

    Raises
    ------
    InvalidInput
        If a weight is missing or has another shape: these are weights of another network.
    """
    check_weights(graph, weights)
    initializers = [_tensor(info.name, weights[info.name], info.layout) for info in graph.weights.values()]
    initializers += [numpy_helper.from_array(np.asarray(value), name) for name, value in graph.constants.items()]
    nodes = [
        helper.make_node(node.op, node.inputs, [node.output.name], name=node.output.name, **node.attributes)
        for node in graph.nodes
    ]
    nodes.append(helper.make_node("Identity", [output.name], ["logits"], name="logits"))
    proto = helper.make_graph(
        nodes,
        metadata.get("dfer_edge.model", "dfer_edge"),
        [_value_info(value.name, value.shape, batch) for value in inputs],
        [_value_info("logits", output.shape, batch)],
        initializers,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(model, dict(metadata))
    return model


def check_weights(graph: SymbolicGraph, weights: Mapping[str, Array]) -> None:
    """Raises :class:`InvalidInput` unless every parameter of the recording is there in its shape."""
    for name, info in graph.weights.items():
        if name not in weights:
            raise InvalidInput(f"expected weights with the key {name!r} of shape {info.shape}; it is missing")
        if tuple(weights[name].shape) != info.shape:
            raise InvalidInput(f"expected {name!r} of shape {info.shape}, got {tuple(weights[name].shape)}")


def _tensor(name: str, value: Array, layout: tuple[int, ...]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value, np.float32).reshape(layout), name)


def _value_info(name: str, shape: Sequence[int], batch: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape[1:]])
