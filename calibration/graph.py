"""An ONNX graph as the stages of quantisation read it: who makes a tensor, who takes it, where its values come from."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CalibrationError, CorruptArtifact, WeightsNotFound

# They move values or pick some of them: the range of what goes in holds for what comes out.
MOVES = frozenset(
    {"Reshape", "Transpose", "Slice", "Concat", "MaxPool", "Pad", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
)
# Larger tensors are weights; smaller ones may be shapes that shape inference has to read.
_SHAPE_TENSOR = 64


class GraphIndex:
    """Producers, consumers and origins of the tensors of one model.

    Parameters
    ----------
    model
        Weights may be left in their file; nothing here reads them.
    source
        Named in errors; as a path also where weights outside of the file lie.

    Attributes
    ----------
    constants
        Initializers by name.
    inputs
        Names of the graph's inputs.

    Raises
    ------
    CalibrationError
        For an operator that is not in ONNX's own set, whose rules nobody here knows.
    """

    def __init__(self, model: onnx.ModelProto, source: object = "the model") -> None:
        self.model, self._source = model, source
        for node in model.graph.node:
            if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
                name = f"{node.domain}.{node.op_type}".lstrip(".")
                raise CalibrationError(f"expected operators of ONNX, got {name} (node {node.name!r}) in {source}")
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value.name for value in model.graph.input if value.name not in self.constants]
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(node)

    def metadata(self) -> dict[str, str]:
        return {entry.key: entry.value for entry in self.model.metadata_props}

    def origins(self, tensor: str) -> list[str]:
        """Tensors whose values ``tensor`` shows, back through operations that only move them; in input order."""
        node = self.producers.get(tensor)
        if node is None or node.op_type not in MOVES:
            return [tensor]
        moved = node.input if node.op_type == "Concat" else node.input[:1]
        return list(dict.fromkeys(origin for name in moved for origin in self.origins(name)))

    def weight(self, tensor: str) -> str | None:
        """The initializer that ``tensor`` is, perhaps in another layout; None if it is computed."""
        origins = self.origins(tensor)
        return origins[0] if len(origins) == 1 and origins[0] in self.constants else None

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes the values of ``tensor``; None for inputs, constants and concatenations."""
        origins = self.origins(tensor)
        return self.producers.get(origins[0]) if len(origins) == 1 else None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor at batch 1."""
        graph = onnx.GraphProto()
        graph.CopyFrom(_without_payload(self.model.graph))
        large = [tensor for tensor in self.model.graph.initializer if _count(tensor) > _SHAPE_TENSOR]
        graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in large)
        for value in graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_value = 1
        del graph.output[:]
        graph.output.extend(helper.make_empty_tensor_value_info(value.name) for value in self.model.graph.output)
        bare = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}

    def identity(self) -> str:
        """Hash of the network: of weights and spec where the file names them (the same for all conv forms).

        Files of other origin are hashed whole, with the weights that lie beside them.

        Raises
        ------
        WeightsNotFound
            If these are missing.
        """
        notes = self.metadata()
        if notes.get("dfer_edge.weights_sha256"):
            content = f"{notes['dfer_edge.weights_sha256']}|{notes.get('dfer_edge.spec', '')}".encode()
        else:
            content = self.model.SerializeToString(deterministic=True)
            content += b"".join(self._beside(name) for name in self._locations())
        return hashlib.sha256(content).hexdigest()

    def _locations(self) -> list[str]:
        """Names of the files with external weights."""
        outside = [t for t in self.constants.values() if t.data_location == TensorProto.EXTERNAL]
        return sorted({entry.value for t in outside for entry in t.external_data if entry.key == "location"})

    def _beside(self, name: str) -> bytes:
        # ONNX forbids paths that lead out of the folder.
        path = Path(str(self._source)).with_name(Path(name).name)
        if not path.is_file():
            raise WeightsNotFound(f"expected the weights of {self._source} in {path}, found nothing")
        return f"|{name}|{file_sha256(path)}".encode()


def _count(tensor: TensorProto) -> int:
    total = 1
    for dim in tensor.dims:
        total *= dim
    return total


def _without_payload(graph: onnx.GraphProto) -> onnx.GraphProto:
    small = [tensor for tensor in graph.initializer if _count(tensor) <= _SHAPE_TENSOR]
    return helper.make_graph(graph.node, graph.name, graph.input, [], small)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, or ``default``."""
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def read(path: str | Path) -> onnx.ModelProto:
    """The model without weights that lie in a file beside it.

    Raises
    ------
    WeightsNotFound, CorruptArtifact
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFound(f"expected an ONNX file, found nothing at {path}")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise CorruptArtifact(f"expected an ONNX file that loads, got {path}: {error}") from error
    if not model.graph.node:
        raise CorruptArtifact(f"expected an ONNX file with a network, got none in {path}")
    return model
