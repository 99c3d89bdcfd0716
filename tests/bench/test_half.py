"""The emulation of fp16 rounds where the file says, which ONNX Runtime's CPU provider does not do with fp16 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.studies.half import simulate_half
from dfer_edge.system.onnx_session import cpu_session

STEP = np.float32(0.4 * 2**-10)  # of the distance between 1 and the next number of fp16


def test_each_node_is_rounded(tmp_path: Path) -> None:
    """1 + 0.4 + 0.4 of a step is 1 where each sum is rounded, and one step more where only the last is."""
    bias, weight = np.array([STEP], np.float32), np.ones((1, 1, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["first"], name="first"),
        helper.make_node("Conv", ["first", "w", "b"], ["second"], name="second"),
        helper.make_node("Identity", ["second"], ["logits"], name="logits"),
    ]
    shape = [1, 1, 1, 1]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ("x", "logits")]
    weights = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *ends, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    exact, rounded = tmp_path / "exact.onnx", tmp_path / "rounded.onnx"
    onnx.save(model, exact)
    # Both convolutions and the cast in front of them.
    assert simulate_half(exact, rounded) == 3
    feed = {"x": np.ones(shape, np.float32)}
    found = {path: cpu_session(str(path), path, 1).run(None, feed)[0].item() for path in (exact, rounded)}
    assert found[rounded] == 1.0
    assert found[exact] > 1 + 0.7 * 2**-10
