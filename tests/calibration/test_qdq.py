from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dfer_edge.calibration import RangeTable, quantize
from dfer_edge.calibration.graph import MOVES, GraphIndex
from dfer_edge.calibration.placement import plan
from dfer_edge.calibration.qdq import SCALE_FLOOR, quantize_weight
from dfer_edge.engines import load_engine
from dfer_edge.errors import CalibrationError, PrecisionUnavailable
from dfer_edge.export.onnx_file import export_onnx
from dfer_edge.inference import registry
from dfer_edge.inference.symbolic import SymbolicGraph
from tests.calibration import tiny


def quantised(files: dict[str, Path], table: RangeTable, folder: Path, form: str = "3d", **options) -> onnx.ModelProto:
    return onnx.load(quantize(files[form], table, folder / "q.onnx", **options))


def test_the_plan_and_its_reasons(files: dict[str, Path]) -> None:
    placement = plan(GraphIndex(onnx.load(files["3d"])))
    kinds = {layer.name.removesuffix(".weight"): layer.kind for layer in placement.layers}
    assert kinds == dict.fromkeys(tiny.CONVS[:-1], "int8") | {"gate": "float", "hidden": "float", "head": "float"}
    reasons = {layer.name: layer.reason for layer in placement.layers}
    assert "1 output channels" in reasons["gate.weight"]
    assert "classifier" in reasons["head.weight"]
    assert "nothing to gain" in reasons["hidden.weight"]
    assert [residual.place for residual in placement.residuals] == ["project.shortcut.weight:output", None]


@pytest.mark.parametrize("form", ["3d", "2d", "shifted"])
def test_rules_of_tensorrt(form: str, files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    model = quantised(files, table, tmp_path, form)
    index = GraphIndex(model)
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in index.constants.items()}

    def dequantised(tensor: str) -> bool:
        return all(index.producers[o].op_type == "DequantizeLinear" for o in index.origins(tensor))

    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    floats = [node for node in convs if not dequantised(node.input[0]) or not dequantised(node.input[1])]
    assert len(convs) == 7
    assert len(floats) == 1, "the gate alone"
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            step, zero = (constants[name] for name in node.input[1:])
            assert step > 0
            assert step.shape == ()
            assert zero == 0
            assert zero.dtype == np.int8
            maker = index.producers.get(node.input[0])
            fed = all(origin in index.inputs for origin in index.origins(node.input[0]))
            assert fed or maker is None or maker.op_type not in MOVES, "Q stands before what moves bytes"
            readers = {reader.op_type for reader in index.consumers[node.input[0]]}
            assert "Relu" not in readers, "no Q between Conv and ReLU"
        if node.op_type == "DequantizeLinear" and constants.get(node.input[0]) is not None:
            assert constants[node.input[0]].dtype == np.int8
            assert len(constants[node.input[1]]) == len(constants[node.input[0]])
    sums = [node for node in model.graph.node if node.op_type == "Add"]
    assert [[dequantised(name) for name in node.input] for node in sums] == [[True, False], [True, False]]
    # The identity of the plain block and its first convolution read the same pair.
    identity = index.origins(sums[1].input[0])[0]
    assert any(index.origins(node.input[0]) == [identity] for node in convs)


def test_unsigned_only_where_nothing_is_negative(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    model = quantised(files, table, tmp_path, scheme="unsigned")
    index = GraphIndex(model)
    kinds = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            maker = index.producers.get(node.input[0])
            kinds[maker.op_type if maker else "input"] = numpy_helper.to_array(index.constants[node.input[2]]).dtype
    assert kinds == {"input": np.int8, "Relu": np.uint8, "Conv": np.int8}


def test_the_same_ranges_give_the_same_bytes(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.onnx" for n in range(2)]
    quantize(files["3d"], table, paths[0])
    quantize(files["3d"], table.save(tmp_path / "t.json"), paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    checked = dataclasses.replace(table, accuracy={"drop": 0.0})
    assert quantize(files["3d"], checked, paths[1]).read_bytes() == paths[0].read_bytes()
    other = tiny.retold(table, **{"stem.weight:input": 1.0})
    assert quantize(files["3d"], other, paths[1]).read_bytes() != paths[0].read_bytes()


def test_weights_are_within_half_a_step(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((5, 3, 1, 3, 3)).astype(np.float32)
    weight[2] = 0
    weight[3] *= 1e-30
    values, steps = quantize_weight(weight)
    assert np.abs(values.astype(int)).max(axis=(1, 2, 3, 4)).tolist() == [127, 127, 0, 0, 127]
    assert steps[2] == steps[3] == np.float32(SCALE_FLOOR)
    error = np.abs(values * steps.reshape(-1, 1, 1, 1, 1) - weight).max(axis=(1, 2, 3, 4))
    assert (error <= steps * 0.501).all()


@pytest.mark.parametrize("form", ["3d", "2d", "shifted"])
@pytest.mark.parametrize("scheme", ["symmetric", "unsigned"])
def test_close_to_float(form: str, scheme: str, files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    path = quantize(files[form], table, tmp_path / "q.onnx", scheme)
    feed = tiny.clips(1, seed=5)[0]
    with load_engine(files[form], "onnxruntime", "fp32", threads=1) as exact:
        expected = exact.infer(feed)["logits"]
    with load_engine(path, "onnxruntime", "int8", threads=1) as rough:
        actual = rough.infer(feed)["logits"]
        assert "simulated" in rough.info()["precision_note"]
    assert 0 < np.abs(actual - expected).max() < 0.1 * np.abs(expected).max()


def test_a_dead_channel_keeps_the_network_finite(tmp_path: Path) -> None:
    from dfer_edge.calibration import calibrate

    def disturb(weights: dict) -> None:
        weights["project.a.weight"] = np.zeros_like(weights["project.a.weight"])
        weights["project.a.bias"] = np.full_like(weights["project.a.bias"], -1)

    path = tiny.network(tmp_path / "dead.onnx", disturb=disturb)
    table = calibrate(path, tiny.clips(), threads=1)
    assert table.ranges["project.c.weight:input"].threshold == 0
    with load_engine(quantize(path, table, tmp_path / "q.onnx"), "onnxruntime", threads=1) as engine:
        assert np.isfinite(engine.infer(tiny.clips(1)[0])["logits"]).all()


def test_parts_of_a_concatenation_share_a_scale(table: RangeTable) -> None:
    from dfer_edge.calibration.placement import Layer, Placement
    from dfer_edge.calibration.qdq import scales
    from dfer_edge.calibration.table import Range

    layers = (
        Layer("1", "both", "int8", "", ("a", "b")),
        Layer("2", "first", "int8", "", ("a",)),
        Layer("3", "alone", "int8", "", ("c",)),
    )
    ranges = {"both:input": Range(0, 1, 1), "first:input": Range(0, 9, 9), "alone:input": Range(-2, 2, 2)}
    found = scales(Placement(layers, ()), ranges, "unsigned")
    assert found["a"] == found["b"]
    assert found["a"].step == pytest.approx(9 / 255)
    assert (found["c"].step, found["c"].unsigned) == (pytest.approx(2 / 127), False)


def test_excluded_layers_stay_float(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    without = dataclasses.replace(table, exclude=("plain.c.weight",))
    model = quantised(files, without, tmp_path)
    kinds = json.loads(GraphIndex(model).metadata()["dfer_edge.layers"])
    assert kinds["plain.c.weight"] == "float"
    assert kinds["plain.a.weight"] == "int8"
    names = {tensor.name for tensor in model.graph.initializer}
    assert "plain.c.weight" in names
    assert "plain.a.weight" not in names


def test_the_mean_error_is_taken_out_of_the_last_bias(
    files: dict[str, Path], table: RangeTable, tmp_path: Path
) -> None:
    shift = np.asarray([0.5, -1, 0], np.float32)
    feed = tiny.clips(1)[0]
    outputs = []
    for logit_shift in ((), tuple(shift.tolist())):
        path = quantize(files["3d"], dataclasses.replace(table, logit_shift=logit_shift), tmp_path / "q.onnx")
        with load_engine(path, "onnxruntime", threads=1) as engine:
            outputs.append(engine.infer(feed)["logits"][0])
    np.testing.assert_allclose(outputs[0] - outputs[1], shift, atol=1e-5)


def test_what_cannot_be_quantised(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    out = tmp_path / "q.onnx"
    with pytest.raises(CalibrationError, match="scheme"):
        quantize(files["3d"], table, out, "asymmetric")
    with pytest.raises(CalibrationError, match="another path"):
        quantize(files["3d"], table, files["3d"])
    with pytest.raises(CalibrationError, match="cannot write"):
        quantize(files["3d"], table, tmp_path / "missing" / "q.onnx")
    with pytest.raises(CalibrationError, match="expected ranges of the weights in"):
        quantize(files["3d"], dataclasses.replace(table, model_sha256="0"), out)
    with pytest.raises(CalibrationError, match=r"plain\.q"):
        quantize(files["3d"], dataclasses.replace(table, exclude=("plain.q",)), out)
    ranges = {place: entry for place, entry in table.ranges.items() if place != "plain.a.weight:input"}
    with pytest.raises(CalibrationError, match=r"range for plain\.a"):
        quantize(files["3d"], dataclasses.replace(table, ranges=ranges), out)
    assert not out.exists()
    quantize(files["3d"], table, out)
    with pytest.raises(CalibrationError, match="float network"):
        quantize(out, table, tmp_path / "twice.onnx")


def test_a_file_is_loaded_as_what_it_is(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    path = quantize(files["3d"], table, tmp_path / "q.onnx")
    with pytest.raises(PrecisionUnavailable, match="got one of precision int8"):
        load_engine(path, "onnxruntime", "fp32")
    with pytest.raises(PrecisionUnavailable, match="got one of precision fp32"):
        load_engine(files["3d"], "onnxruntime", "int8")
    assert load_engine(path, "onnxruntime").info()["precision"] == "int8"


@pytest.mark.parametrize("form", ["3d", "2d"])
def test_padding_is_exact(form: str, files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    feed, logits = tiny.clips(2)[1], []
    for pad_to in (None, 16):
        path = quantize(files[form], table, tmp_path / f"{pad_to}.onnx", pad_to=pad_to)
        with load_engine(path, "onnxruntime", threads=1) as engine:
            logits.append(engine.infer(feed)["logits"])
    np.testing.assert_allclose(logits[0], logits[1], atol=2e-5)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in onnx.load(tmp_path / "16.onnx").graph.initializer}
    assert shapes["project.a.weight/quantised"][:2] == (32, 16)
    assert shapes["project.c.weight/quantised"][:2] == (32, 32)


@pytest.mark.parametrize("form", ["3d", "2d"])
def test_padding_of_r2plus1d(form: str, tmp_path: Path) -> None:
    from dfer_edge.calibration.padding import pad_channels

    model = onnx.load(export_onnx("r2plus1d_sta", tmp_path / "r.onnx", "random", form=form))
    padded = pad_channels(model, 32, tmp_path)
    assert dict(padded.values()) == {45: 64, 144: 160, 230: 256, 460: 480}
    graph = SymbolicGraph()
    registry.find("r2plus1d_sta").inference().build(
        graph, [graph.input("clip", (3, 16, 112, 112))], registry.find("r2plus1d_sta").spec
    )
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    before = sum(node.macs for node in graph.nodes if node.op == "Conv")
    after = sum(
        node.macs * np.prod(sizes[node.inputs[1]]) / graph.weights[node.inputs[1]].size
        for node in graph.nodes
        if node.op == "Conv"
    )
    assert 1 < after / before < 1.1
