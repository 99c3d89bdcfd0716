from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge.calibration import RangeTable, calibrate, quantize
from dfer_edge.calibration import ranges as ranges_module
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.errors import CalibrationError, CorruptArtifact, InvalidInput, WeightsNotFound
from tests.calibration import tiny


def test_ranges_are_those_of_the_tensors(table: RangeTable, files: dict[str, Path]) -> None:
    import onnxruntime

    values = np.concatenate([feed["clip"] for feed in tiny.clips()])
    entry = table.ranges["stem.weight:input"]
    assert (entry.low, entry.high) == (values.min(), values.max())
    assert entry.threshold == np.abs(values).max()
    model = onnx.load(files["3d"])
    relu = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(relu))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = session.run([relu], {"clip": values})[0].max()
    # The max pooling after the stem only picks values: its input carries the range of what comes out.
    assert table.ranges["project.a.weight:input"].high == pytest.approx(largest, rel=1e-5)


def test_all_forms_give_the_same_places_and_ranges(table: RangeTable, files: dict[str, Path]) -> None:
    for form in ("2d", "shifted"):
        other = calibrate(files[form], tiny.clips(), "minmax", threads=1)
        assert other.model_sha256 == table.model_sha256
        assert set(other.ranges) == set(table.ranges)
        for place, entry in table.ranges.items():
            assert other.ranges[place].threshold == pytest.approx(entry.threshold, rel=1e-5), place


def test_groups_change_nothing(table: RangeTable, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "_GROUP_BYTES", 1)
    assert calibrate(files["3d"], tiny.clips(), "minmax", threads=1) == table


def test_nothing_is_left_beside_the_network(table: RangeTable, folder: Path) -> None:
    assert not list(folder.glob(".*"))


def test_a_nan_is_traced_to_its_layer(tmp_path: Path) -> None:
    def disturb(weights: dict) -> None:
        weights["project.a.weight"] = np.full_like(weights["project.a.weight"], 1e38)

    path = tiny.network(tmp_path / "inf.onnx", disturb=disturb)
    with pytest.raises(CalibrationError, match=r"NaN or infinity in the input of layer project\.c\.weight .*clip 0"):
        calibrate(path, tiny.clips(), threads=1)


def test_bad_requests(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="kl"):
        calibrate(files["3d"], tiny.clips(), "kl")
    with pytest.raises(WeightsNotFound):
        calibrate(tmp_path / "none.onnx", tiny.clips())
    with pytest.raises(CalibrationError, match="at least 16"):
        calibrate(files["3d"], tiny.clips(3))
    (tmp_path / "bad.onnx").write_bytes(b"\x00 no network")
    with pytest.raises(CorruptArtifact):
        calibrate(tmp_path / "bad.onnx", tiny.clips())


@pytest.mark.parametrize(
    ("change", "name"), [({"domain": "com.example"}, r"com\.example\.Conv"), ({"op_type": "Kv"}, "Kv")]
)
def test_unknown_operators(change: dict, name: str, table: RangeTable, files: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(files["3d"])
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    for key, value in change.items():
        setattr(node, key, value)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(CalibrationError, match=f"expected operators of ONNX, got {name} "):
        calibrate(tmp_path / "foreign.onnx", tiny.clips())
    with pytest.raises(CalibrationError, match=f"expected operators of ONNX, got {name} "):
        quantize(tmp_path / "foreign.onnx", table, tmp_path / "q.onnx")
    assert not (tmp_path / "q.onnx").exists()


def test_a_table_survives_its_file(table: RangeTable, tmp_path: Path) -> None:
    path = table.save(tmp_path / "t.ranges.json")
    assert RangeTable.load(path) == table
    assert RangeTable.load(path).sha256 == table.sha256


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("method"),
        lambda content: content["ranges"]["stem.weight:input"].update(threshold=float("nan")),
        lambda content: content["ranges"]["stem.weight:input"].update(threshold=2.0),
        lambda content: content.update(clips=3),
        lambda content: content.update(format="other"),
    ],
)
def test_a_changed_table_is_refused(change, table: RangeTable, tmp_path: Path) -> None:
    path = table.save(tmp_path / "t.ranges.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptArtifact):
        RangeTable.load(path)


def test_weights_beside_a_foreign_file_are_part_of_its_identity(tmp_path: Path) -> None:
    path = tiny.network(tmp_path / "inside.onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    out = tmp_path / "foreign.onnx"
    onnx.save(model, out, save_as_external_data=True, location="foreign.bin", size_threshold=0)
    before, again = (GraphIndex(read(out), out).identity() for _ in range(2))
    assert before == again
    content = bytearray((tmp_path / "foreign.bin").read_bytes())
    content[100] ^= 64
    (tmp_path / "foreign.bin").write_bytes(content)
    assert GraphIndex(read(out), out).identity() != before
    (tmp_path / "foreign.bin").unlink()
    with pytest.raises(WeightsNotFound, match=r"expected the weights of .*foreign.onnx in .*foreign.bin"):
        GraphIndex(read(out), out).identity()


def test_tables_that_cannot_be_written_or_found(table: RangeTable, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot write"):
        table.save(tmp_path / "missing" / "t.json")
    with pytest.raises(WeightsNotFound, match="nothing at"):
        RangeTable.load(tmp_path / "t.json")
