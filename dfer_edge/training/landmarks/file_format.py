"""What the ONNX file of every landmark network has: outputs, how its crops are cut, where it is from."""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import TensorProto, helper

from dfer_edge.training.landmarks.network import POINTS
from dfer_edge.training.onnx_graph import NodeGraph


def model_of(graph: NodeGraph, size: int, margin: float, down: float, metadata: dict[str, Any]) -> onnx.ModelProto:
    """The model of a graph that reads ``image`` and gives ``points``, ``spread`` and ``face``.

    Parameters
    ----------
    size, margin, down
        Pixels of a crop's side, its side and how far it is moved down, in units of the longer side of the detector's
        box.
    metadata
        JSON-safe; goes into the file beside what the network needs to be run.
    """
    shapes = {"image": ["N", 1, size, size], "points": ["N", POINTS, 2], "spread": ["N", POINTS], "face": ["N"]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    image = values.pop("image")
    spec = {
        "size": size,
        "colour": "grey 0-255, 0.299 R + 0.587 G + 0.114 B",
        "margin": margin,
        "down": down,
        "order": "iBUG 300-W, 68",
    }
    made = {"name": "rendered68", "spec": spec, "weights_sha256": graph.digest(), "licence": "MIT", **metadata}
    properties = {name: value if isinstance(value, str) else json.dumps(value) for name, value in made.items()}
    return graph.model("landmarks68", [image], list(values.values()), properties)
