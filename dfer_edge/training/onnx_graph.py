"""An ONNX graph in the making: what the exports of small trained networks share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dfer_edge._version import __version__
from dfer_edge.training.checkpoint import publish

OPSET = 17


class NodeGraph:
    """Nodes and weights; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        out = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def constant(self, value: np.ndarray) -> str:
        name = f"constant{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, value: np.ndarray) -> str:
        """Stored as fp16; the runtime widens it once, when it loads the file."""
        return self.node("Cast", self.constant(value.astype(np.float16)), to=TensorProto.FLOAT)

    def digest(self) -> str:
        """sha256 of all weights in their order."""
        return hashlib.sha256(b"".join(weight.raw_data for weight in self.weights)).hexdigest()

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        properties: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The whole of it, checked, with ``properties`` as its metadata."""
        proto = helper.make_graph(self.nodes, name, list(inputs), list(outputs), self.weights)
        model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        model.producer_name, model.producer_version = "dfer_edge", __version__
        helper.set_model_props(model, dict(properties))
        onnx.checker.check_model(model, full_check=True)
        return model


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model; the old file stays until the new one is whole.

    Raises
    ------
    DferError
        If it cannot be written.
    """
    publish(path, lambda file: file.write_bytes(model.SerializeToString()))
