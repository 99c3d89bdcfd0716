"""Exported graphs stay within what TensorRT 10.3's ONNX parser reads."""

from __future__ import annotations

import pytest

from dfer_edge.inference import FORMS, PARTS, record, registry
from dfer_edge.inference.onnx_writer import OPSET
from dfer_edge.models import list_models

# Of the parser's list of supported operators for float (onnx-tensorrt, release 10.3), those that we have a use for.
READABLE = {
    "Add",
    "Concat",
    "Conv",
    "Div",
    "Erf",
    "Exp",
    "Gemm",
    "Identity",
    "LayerNormalization",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Tanh",
    "Transpose",
}


def test_opset() -> None:
    # LayerNormalization came with 17; the parser of 10.3 reads up to 20.
    assert 17 <= OPSET <= 20


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", list_models())
def test_operators(name: str, form: str) -> None:
    spec = registry.find(name).spec
    parts = PARTS if registry.find(name).frames_per_step else ("whole",)
    for part in parts:
        graph, _, _ = record(spec, form, part)
        assert {node.op for node in graph.nodes} <= READABLE
        # Only the leading axis is dynamic: every other shape is known when the engine is built.
        assert all(size > 0 for node in graph.nodes for size in node.output.shape[1:])
