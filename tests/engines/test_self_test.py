"""The self-test of TensorRT and the choice of a conv form, with the double: what a user sees and sends in."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge import EngineUnavailable
from dfer_edge.cache import store as cache
from dfer_edge.cli import doctor
from dfer_edge.cli.main import main
from dfer_edge.doctor import self_test
from dfer_edge.engines import Choice, Engine, best_form
from dfer_edge.engines.tensorrt import forms as tensorrt_forms
from dfer_edge.export import artifacts
from dfer_edge.inference import registry
from dfer_edge.weights.file import Weights
from tests.calibration import made_up
from tests.engines.fake_tensorrt import install
from tests.engines.strict_double import World
from tests.engines.tensorrt_cases import quantised, small

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(self_test.weights, "resolve", lambda name, weights: small(name))
    monkeypatch.setattr(tensorrt_forms, "_WARM_UP_S", 0.0)
    monkeypatch.chdir(tmp_path)


def test_the_table_the_file_and_the_label_of_a_simulation(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path, clip_file: Path
) -> None:
    (tmp_path / "qdq").mkdir()
    quantised(clip_file, tmp_path / "qdq" / "r2plus1d_sta.onnx")
    arguments = ["--models", "r2plus1d_sta", "--qdq", "qdq", "--samples", "3"]
    assert main(["doctor", "--self-test", "tensorrt", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "SIMULATED" in printed
    assert f"TensorRT {world.version} on Simulated GPU, sm 8.7" in printed
    assert "3 pass, 0 fail, 0 skip" in printed
    document = json.loads(Path("tensorrt-self-test.json").read_text())
    assert document["simulated"] is True
    assert [(row["precision"], row["form"], row["result"]) for row in document["rows"]] == [
        ("fp32", "2d", "pass"),
        ("fp16", "2d", "pass"),
        ("int8", "file", "pass"),
    ]
    for row in document["rows"]:
        assert row["build_s"] > 0
        assert row["p90_ms"] >= row["latency_ms"] > 0
        assert row["difference"] <= row["tolerance"]
    assert document["rows"][0]["weights"] == "random"
    assert {"date", "dfer_edge", "gpu", "capability", "l4t", "power_mode", "tensorrt", "board"} <= set(document)
    assert not cache.entries("networks"), "gigabytes of exports were left on the board"


def test_what_fails_is_a_row_and_exit_code_one(
    strong: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = strong.trt.Builder.create_network

    def crash(self: object, flags: int = 0) -> object:
        if len(strong.recorded("create_builder_config")):
            raise MemoryError("the library ran out of memory")
        return real(self, flags)

    monkeypatch.setattr(strong.trt.Builder, "create_network", crash)
    arguments = ["--models", "r2plus1d_sta", "--samples", "1", "--json"]
    assert main(["doctor", "--self-test", "tensorrt", *arguments]) == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["result"] for row in rows] == ["pass", "fail", "fail"]
    assert rows[1]["reason"] == "MemoryError: the library ran out of memory"


def test_int8_is_quantised_here_in_every_form(weak: World, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", "r2plus1d_sta", "--precisions", "int8", "--forms", "2d", "shifted", "--samples", "1"]
    assert main(["doctor", "--self-test", "tensorrt", *arguments]) == 0
    assert "int8 of r2plus1d_sta: ranges of noise, nothing is said about accuracy" in capsys.readouterr().out
    rows = json.loads(Path("tensorrt-self-test.json").read_text())["rows"]
    assert [(row["form"], row["result"], row["weights"]) for row in rows] == [
        ("2d", "pass", "random"),
        ("shifted", "pass", "random"),
    ]
    assert all(row["ranges"] == self_test.NOISE for row in rows)
    assert best_form(Choice("tensorrt", "int8"), small("r2plus1d_sta").spec) in ("2d", "shifted")
    assert not cache.entries("networks")


def test_int8_on_tensorrt_has_channels_in_multiples_of_32(strong: World, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    real = self_test.load_engine

    def look(path: Path, *others: object) -> Engine:
        graph = onnx.load(path).graph
        kernels = {node.input[1].partition("/")[0] for node in graph.node if node.op_type == "Conv"}
        widths.extend(t.dims[0] for t in graph.initializer if t.name.endswith("/quantised") and t.name[:-10] in kernels)
        return real(path, *others)

    monkeypatch.setattr(self_test, "load_engine", look)
    (row,) = self_test.run(["r2plus1d_sta"], ["int8"], samples=1)["rows"]
    assert row["result"] == "pass"
    assert widths
    assert {width % 32 for width in widths} == {0}


def test_the_file_is_written_after_each_row(strong: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = self_test._try

    def hang_up(row: self_test.Row, *others: object) -> None:
        if row.precision == "fp16":
            raise KeyboardInterrupt
        real(row, *others)

    monkeypatch.setattr(self_test, "_try", hang_up)
    with pytest.raises(KeyboardInterrupt):
        run_self_test(["--models", "r2plus1d_sta", "--samples", "1"])
    document = json.loads(Path("tensorrt-self-test.json").read_text())
    assert [(row["precision"], row["result"]) for row in document["rows"]] == [("fp32", "pass")]
    assert document["simulated"] is True


def run_self_test(words: list[str]) -> int:
    """The command without what turns an interruption into an exit code."""
    parser = argparse.ArgumentParser()
    doctor.add(parser.add_subparsers(), argparse.ArgumentParser(add_help=False))
    return doctor.run(parser.parse_args(["doctor", "--self-test", "tensorrt", *words]))


def test_what_cannot_be_written_is_said_before_the_work(
    strong: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(self_test, "run", lambda *a: pytest.fail("worked first"))
    assert main(["doctor", "--self-test", "tensorrt", "--out", "missing/file.json"]) == 1
    assert "expected a folder to write into" in capsys.readouterr().err
    for samples in ("0", "-3", "many"):
        with pytest.raises(SystemExit, match="2"):
            main(["doctor", "--self-test", "tensorrt", "--samples", samples])


def test_only_what_the_test_made_is_removed(strong: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process exports a network while the test runs."""
    real = self_test._try
    theirs = []

    def meanwhile(*arguments: object) -> None:
        code = "import sys; from pathlib import Path; from dfer_edge import cache; print(cache.obtain("
        code += "cache.Key('networks', 'theirs', {'n': '1'}), lambda f: (f / 'model.onnx').write_text('x') and None))"
        theirs.append(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        real(*arguments)

    monkeypatch.setattr(self_test, "_try", meanwhile)
    self_test.run(["r2plus1d_sta"], ["fp32"], samples=1)
    assert [str(entry.path) for entry in cache.entries("networks")] == [theirs[0].strip()]
    assert not cache.entries("engines")


def test_int8_takes_shipped_ranges(strong: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = small("r2plus1d_sta")
    table = made_up.table(artifacts.prepare(source, "2d"), "r2plus1d_sta")
    monkeypatch.setattr(self_test.weights, "ranges_beside", lambda *name: table.save(tmp_path / "r.ranges.json"))
    (row,) = self_test.run(["r2plus1d_sta"], ["int8"], samples=1)["rows"]
    assert (row["result"], row["ranges"]) == ("pass", self_test.SHIPPED)


def test_a_folder_without_the_file_is_a_skipped_row(strong: World, tmp_path: Path) -> None:
    (row,) = self_test.run(["r2plus1d_sta"], ["int8"], quantised=tmp_path)["rows"]
    assert (row["result"], row["form"]) == ("skip", "file")
    assert "no Q/DQ file" in row["reason"]


def test_a_wrong_engine_is_a_failed_row(strong: World) -> None:
    strong.error = np.arange(7, dtype=np.float32)
    result = self_test.run(["r2plus1d_sta"], ["fp32"], samples=1)
    assert result["rows"][0]["result"] == "fail"
    assert "wrong on this device" in result["rows"][0]["reason"]


def test_without_the_library_it_says_why() -> None:
    with pytest.raises(EngineUnavailable, match="tensorrt"):
        self_test.run(["slowr50"])
    assert main(["doctor", "--self-test", "tensorrt"]) == 1


def test_the_fastest_form_is_remembered_for_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, "10.3")
    spec = small("r2plus1d_sta").spec
    choice = Choice("tensorrt", "fp16")
    assert best_form(choice, spec) == "2d"
    self_test.run(["r2plus1d_sta"], ["fp16"], forms=["3d", "2d", "shifted"], samples=2)
    folder = cache.find(tensorrt_forms._key(spec, "fp16"))
    measured = json.loads((folder / "form.json").read_text())["latency_ms"]
    assert set(measured) == {"3d", "2d", "shifted"}
    assert best_form(choice, spec) == min(measured, key=measured.get)
    tensorrt_forms.remember(spec, "fp16", {"2d": 2.0, "shifted": 1.0})
    assert best_form(choice, spec) == "shifted"
    assert best_form(Choice("tensorrt", "fp32"), spec) == "2d", "measured for another precision"
    monkeypatch.setattr("dfer_edge.system.board.power_mode", lambda: "1 15W")
    assert best_form(choice, spec) == "2d", "measured in another power mode"
    assert best_form(Choice("openvino", "fp32"), spec) == "3d"


def test_forms_take_turns_on_equal_terms() -> None:
    ran = []

    class Recorded:
        batch = None

        def __init__(self, form: str) -> None:
            self._form = form
            self.input_shapes, self.input_dtypes = {"clip": (3, 2, 4, 4)}, {"clip": np.dtype(np.float32)}

        def infer(self, feed: dict[str, np.ndarray]) -> None:
            ran.append((self._form, feed["clip"].tobytes()))

    times = tensorrt_forms.latencies_ms({form: Recorded(form) for form in ("2d", "shifted")}, 3)
    assert [form for form, _ in ran[-6:]] == ["2d", "shifted"] * 3
    assert len({feed for _, feed in ran}) == 1, "another input"
    assert {form: len(values) for form, values in times.items()} == {"2d": 3, "shifted": 3}


def test_networks_without_a_convolution_over_time_have_one_form() -> None:
    spec = registry.find("agfer").spec
    source = Weights("random", "", spec, None)
    assert self_test._distinct(source, ("3d", "2d", "shifted")) == ["3d"]
    assert len(self_test._distinct(small("r2plus1d_sta"), ("3d", "2d", "shifted"))) == 3
