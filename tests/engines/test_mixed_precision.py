"""Half precision in the file: islands, casts, scales."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from dfer_edge.calibration.graph import MOVES
from dfer_edge.engines import mixed_precision
from tests.engines.tensorrt_cases import quantised


def test_smate_keeps_its_islands_by_casts_from_10_12_on(smate_file: Path, tmp_path: Path) -> None:
    mixed_precision.write_half(smate_file, tmp_path / "half.onnx")
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx"))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    by_op = {}
    for node in model.graph.node:
        by_op.setdefault(node.op_type, set()).add(kinds.get(node.output[0]))
    assert by_op["LayerNormalization"] == {TensorProto.FLOAT}
    assert by_op["Softmax"] == {TensorProto.FLOAT}
    assert by_op["Tanh"] == {TensorProto.FLOAT16}
    assert by_op["MatMul"] == {TensorProto.FLOAT, TensorProto.FLOAT16}, "scores wide, values narrow"
    assert {port.type.tensor_type.elem_type for port in (*model.graph.input, *model.graph.output)} == {1}
    halves = (tmp_path / "half.onnx.data").stat().st_size / smate_file.with_name("smate.onnx.data").stat().st_size
    assert 0.49 < halves < 0.52


def test_half_precision_keeps_the_pattern_that_is_fused(clip_file: Path, tmp_path: Path) -> None:
    path = quantised(clip_file, tmp_path / "int8.onnx")
    mixed_precision.write_half(path, tmp_path / "half.onnx")
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)
    model = onnx.load(tmp_path / "half.onnx")
    producers = {output: node for node in model.graph.node for output in node.output}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convs
    for conv in convs:
        for name in conv.input[:2]:
            # What only moves int8 values is fused; a cast on the way would leave a float convolution behind.
            while (maker := producers[name]).op_type in MOVES:
                name = maker.input[0]
            assert maker.op_type == "DequantizeLinear"
    scales = {name for node in model.graph.node if node.op_type.endswith("Linear") for name in [node.input[1]]}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            assert tensor.data_type == TensorProto.FLOAT16
            assert (numpy_helper.to_array(tensor) > 0).all(), "a scale of zero"


def test_nodes_without_names_are_told_apart(smate_file: Path, tmp_path: Path) -> None:
    """Files of other writers often name no node."""
    named = mixed_precision.header(smate_file)
    bare = mixed_precision.header(smate_file)
    for node in bare.graph.node:
        node.name = ""
    assert mixed_precision.islands(bare) == mixed_precision.islands(named)
    bare_file = smate_file.with_name("bare.onnx")
    bare_file.write_bytes(bare.SerializeToString())
    mixed_precision.write_half(bare_file, tmp_path / "half.onnx")
    mixed_precision.write_half(smate_file, tmp_path / "half_named.onnx")
    bare_kinds, named_kinds = (
        [(node.op_type, [name.endswith("_fp32") for name in node.input]) for node in onnx.load(path).graph.node]
        for path in (tmp_path / "half.onnx", tmp_path / "half_named.onnx")
    )
    assert bare_kinds == named_kinds
    assert len(bare_kinds) > 50
