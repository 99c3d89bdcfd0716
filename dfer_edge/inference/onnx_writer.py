"""From a recorded inference form and its weights to an ONNX file (opset 17, readable by TensorRT 10.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.inference.folding import Array
from dfer_edge.inference.symbolic import SymbolicGraph, Value, WeightInfo

OPSET = 17
IR_VERSION = 8

# Metadata entry: sha256 of the file beside the model that holds its weights.
DATA_SHA256 = "dfer_edge.data_sha256"

# Engines map external data by page; each tensor starts on one.
_PAGE = 4096


def write_onnx(
    path: Path,
    graph: SymbolicGraph,
    inputs: Sequence[Value],
    output: Value,
    weights: Mapping[str, Array],
    metadata: Mapping[str, str],
    batch: int | str = "batch",
    external: bool = False,
    output_name: str = "logits",
) -> None:
    """Write the model with fp32 weights.

    Parameters
    ----------
    path
        Of the ``.onnx`` file; external weights go to ``path`` + ``.data`` beside it.
    graph, inputs, output
        The recording.
    weights
        Arrays by parameter name, in the 3-D layout; read one at a time.
    metadata
        Goes into ``metadata_props``, with the sha256 of external weights as :data:`DATA_SHA256`.
    batch
        Name of the dynamic leading axis, or a fixed batch size.
    external
        Keep weights in a second file, which engines map instead of parsing; needed from 2 GB on.
    output_name
        What the file calls ``output``.

    Raises
    ------
    InvalidInput
        If a weight is missing or has another shape: these are weights of another network.
    """
    if external:
        with ExternalData(path) as data:
            initializers = [data.add(info.name, _checked(info, weights)) for info in graph.weights.values()]
        metadata = {**metadata, DATA_SHA256: file_sha256(data.path)}
    else:
        initializers = [numpy_helper.from_array(_checked(info, weights), info.name) for info in graph.weights.values()]
    initializers += [numpy_helper.from_array(np.asarray(value), name) for name, value in graph.constants.items()]
    path.write_bytes(_model(graph, inputs, output, initializers, metadata, batch, output_name).SerializeToString())


def _model(
    graph: SymbolicGraph,
    inputs: Sequence[Value],
    output: Value,
    initializers: Sequence[TensorProto],
    metadata: Mapping[str, str],
    batch: int | str,
    output_name: str,
) -> onnx.ModelProto:
    nodes = [
        helper.make_node(node.op, node.inputs, [node.output.name], name=node.output.name, **node.attributes)
        for node in graph.nodes
    ]
    nodes.append(helper.make_node("Identity", [output.name], [output_name], name=output_name))
    proto = helper.make_graph(
        nodes,
        metadata.get("dfer_edge.model", "dfer_edge"),
        [_value_info(value.name, value.shape, batch) for value in inputs],
        [_value_info(output_name, output.shape, batch)],
        initializers,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(model, dict(metadata))
    return model


def require_shapes(graph: SymbolicGraph, weights: Mapping[str, Array]) -> None:
    """Raises InvalidInput for a weight of a recording that is missing or of another shape."""
    for info in graph.weights.values():
        _fitting(info, weights)


def _fitting(info: WeightInfo, weights: Mapping[str, Array]) -> Array:
    if info.name not in weights:
        raise InvalidInput(f"expected weights with the key {info.name!r} of shape {info.shape}; it is missing")
    value = weights[info.name]
    if tuple(value.shape) != info.shape:
        raise InvalidInput(f"expected {info.name!r} of shape {info.shape}, got {tuple(value.shape)}")
    return value


def _checked(info: WeightInfo, weights: Mapping[str, Array]) -> Array:
    value = _fitting(info, weights)
    narrow = np.ascontiguousarray(value, np.float32).reshape(info.layout)
    # Some engines turn NaN into a label: broken weights stop here.
    if not np.isfinite(narrow).all():
        raise CorruptArtifact(f"expected finite weights, got NaN or infinity in {info.name!r}")
    return narrow


class ExternalData:
    """The file beside a model that holds its tensors; a context manager that is open while it is written."""

    def __init__(self, model: Path) -> None:
        self.path = model.with_name(f"{model.name}.data")
        self._file = self.path.open("wb")

    def __enter__(self) -> ExternalData:
        return self

    def __exit__(self, *reason: object) -> None:
        self._file.close()

    def add(self, name: str, value: Array) -> TensorProto:
        """Append an array; returns the tensor that refers to it."""
        self._file.write(b"\0" * (-self._file.tell() % _PAGE))
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, entry in (("location", self.path.name), ("offset", self._file.tell()), ("length", value.nbytes)):
            tensor.external_data.add(key=key, value=str(entry))
        self._file.write(np.ascontiguousarray(value).data)
        return tensor


def _value_info(name: str, shape: Sequence[int], batch: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape[1:]])
