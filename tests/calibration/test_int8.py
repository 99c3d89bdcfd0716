"""int8 from the user's side: the recogniser and the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import CalibrationError, CorruptArtifact, InvalidInput, PrecisionUnavailable, Recognizer
from dfer_edge.cache import store as cache
from dfer_edge.calibration import RangeTable
from dfer_edge.calibration.report import Report, compare
from dfer_edge.cli import calibrate as calibrate_command
from dfer_edge.cli.main import main
from dfer_edge.engines import planner, precision_reasons, reasons
from dfer_edge.export.onnx_file import export_onnx
from dfer_edge.inference import registry
from dfer_edge.models import create_model
from dfer_edge.spec import ModelSpec
from dfer_edge.weights import file as weights
from tests.calibration import made_up

NAME = "slowr50_sa"


@pytest.fixture(scope="module")
def ranges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranges")
    path = export_onnx(NAME, folder / "fp32.onnx", "random")
    return made_up.table(path, NAME).save(folder / "made_up.ranges.json")


@pytest.fixture
def able() -> None:
    if reason := reasons("openvino") or precision_reasons("openvino")["int8"]:
        pytest.skip(reason)


def test_without_ranges_the_way_out_is_named() -> None:
    with pytest.raises(PrecisionUnavailable, match=rf"dfer-edge calibrate {NAME} --weights random") as caught:
        Recognizer(NAME, weights="random", engine="onnxruntime", precision="int8", detector="haar")
    assert "there are none" in caught.value.message
    with pytest.raises(PrecisionUnavailable, match="torch runs no Q/DQ files"):
        Recognizer(NAME, weights="random", engine="torch", precision="int8", detector="haar")


def test_ranges_of_another_network(ranges: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"expected ranges of the weights in slowr50, random"):
        Recognizer("slowr50", weights="random", engine="onnxruntime", precision="int8", calibration=ranges)


def test_a_recogniser_in_int8(
    able: None, ranges: Path, astronaut_frames: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache of its own: other tests leave int8 networks in the shared one.
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    rec = Recognizer(NAME, "random", "openvino", "int8", detector="haar", threads=1, calibration=ranges)
    assert (rec.info()["engine"], rec.info()["precision"]) == ("openvino", "int8")
    assert rec.predict(astronaut_frames[:4], faces="cropped").weights["name"] == "random"
    cached = {entry.path for entry in cache.entries("networks") if "int8" in entry.name}
    assert len(cached) == 1
    assert [file.name for file in next(iter(cached)).iterdir() if file.suffix in (".onnx", ".data")] == ["model.onnx"]


def test_ranges_are_read_only_where_int8_may_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    weights.save(path, create_model("slowr50"))
    (tmp_path / "mine.ranges.json").write_text("damaged")
    rec = Recognizer("slowr50", path, "onnxruntime", "fp32", detector="haar", threads=1)
    assert rec.info()["precision"] == "fp32"
    for precision in ("int8", "auto"):
        with pytest.raises(CorruptArtifact, match=r"mine.ranges.json"):
            Recognizer("slowr50", path, "onnxruntime", precision, detector="haar", threads=1)


def test_calibration_does_not_go_with_a_file(ranges: Path, tmp_path: Path) -> None:
    path = export_onnx("slowr50", tmp_path / "mine.onnx", "random", form="2d")
    with pytest.raises(InvalidInput, match=r"expected no calibration for .*mine.onnx"):
        Recognizer("slowr50", path, "onnxruntime", detector="haar", calibration=ranges)


def test_a_recogniser_needs_no_renderer() -> None:
    code = "import sys, dfer_edge.recognizer; print([name for name in sys.modules if 'synthesis' in name])"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate is loaded; which one is faster on a busy machine is no matter of a test."""
    ms = {"int8": 1.0, "bf16": 2.0, "fp16": 2.0, "fp32": 3.0}
    monkeypatch.setattr(planner, "latency_ms", lambda engine, best_ms: ms[engine.info()["precision"]])


@pytest.mark.usefixtures("able", "ranked")
def test_auto_says_why_int8_was_not_taken(ranges: Path) -> None:
    rec = Recognizer(NAME, "random", "openvino", detector="haar", threads=1, calibration=ranges)
    assert rec.info()["precision"] != "int8"
    assert "never measured" in rec.info()["not_taken"]["openvino/int8"]
    json.dumps(rec.info())


@pytest.mark.usefixtures("able", "ranked")
def test_auto_takes_int8_within_the_budget(ranges: Path, tmp_path: Path) -> None:
    measured = dataclasses.replace(RangeTable.load(ranges), accuracy={"drop": 0.0, "clips": 200})
    good = measured.save(tmp_path / "good.ranges.json")
    rec = Recognizer(NAME, "random", "openvino", detector="haar", threads=1, calibration=good)
    assert rec.info()["precision"] == "int8"
    assert "times as long" in rec.info()["not_taken"]["openvino/fp32"]


def test_export_int8(ranges: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "q.onnx"
    command = ["export", NAME, str(out), "--weights", "random", "--int8", "--ranges", str(ranges), "--json"]
    assert main(command) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["precision"], written["scheme"]) == ("int8", "symmetric")
    assert out.stat().st_size <= 34e6
    assert main([*command, "--engine", "openvino"]) == 0
    assert json.loads(capsys.readouterr().out)["scheme"] == "unsigned"
    rec = Recognizer(NAME, str(out), "onnxruntime", detector="haar", threads=1)
    assert "simulated" in rec.info()["precision_note"]
    assert main(["export", NAME, str(out), "--weights", "random", "--int8"]) == 1
    assert "dfer-edge calibrate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--clips", "missing", "--out", "r.json"], 1, "expected a folder with videos of faces"),
        (["--clips", ".", "--out", "missing/r.json"], 1, "expected a folder to write into"),
        (["--clips", ".", "--out", "r.json", "--report", "missing"], 1, "expected a folder to write into"),
        (["--clips", ".", "--out", "."], 1, "expected a file that can be written"),
        (["--clips", ".", "--out", "r.json", "--method", "kl"], 2, "invalid choice"),
        (["--clips", ".", "--out", "r.json", "--max-drop", "-1"], 2, "0 to 100 points"),
        (["--clips", ".", "--out", "r.json", "--count", "0"], 2, "positive number of clips"),
        (["--out", "r.json"], 2, "--clips"),
        (["--clips", ".", "--render", "--out", "r.json"], 2, "not allowed with"),
    ],
)
def test_wrong_use_of_calibrate(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["calibrate", NAME, "--weights", "random", "--detector", "haar", *arguments]
    if code == 2:
        with pytest.raises(SystemExit) as caught:
            main(command)
        assert caught.value.code == 2
    else:
        assert main(command) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def fake_report(drop: float) -> Report:
    found = compare(np.eye(2), np.eye(2), ("a", "b"))
    found = dataclasses.replace(found, top1_agreement=1 - drop / 100)
    return Report(NAME, "default", "minmax", "symmetric", "openvino", 16, found, {"a": 1.0}, ())


@pytest.mark.parametrize(
    ("drop", "max_drop", "said"),
    [
        (0.4, 2.0, ""),
        (1.0, 2.0, "precision auto takes it up to 0.5"),
        (0.4, 0.1, "more than 0.1 with any layers in float"),
        (3.0, 2.0, "more than 2 with any layers in float"),
    ],
)
def test_what_auto_will_do_is_said_by_its_own_budget(
    drop: float, max_drop: float, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = argparse.Namespace(max_drop=max_drop, json=False)
    calibrate_command._print(arguments, [Path("r.json")], fake_report(drop), {})
    printed = capsys.readouterr().out
    assert said in printed
    assert ("precision auto" in printed) == (drop > planner.BUDGET)


def test_a_report_without_its_picture_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ranges: Path
) -> None:
    result = RangeTable.load(ranges), fake_report(0.0)
    monkeypatch.setattr(
        "dfer_edge.calibration.data.from_folder", lambda *a, prepared: types.SimpleNamespace(skipped={})
    )
    monkeypatch.setattr("dfer_edge.calibration.flow.run", lambda *a, **k: result)
    monkeypatch.setattr("dfer_edge.export.onnx_file.export_onnx", lambda *a: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    command = ["calibrate", NAME, "--weights", "random", "--clips", str(tmp_path), "--out", str(tmp_path / "r.json")]
    assert main([*command, "--report", str(tmp_path)]) == 0
    assert "no PNG of the report: matplotlib is not installed" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", f"{NAME}.int8.json", f"{NAME}.int8.md"]


def test_one_video_is_too_little(astronaut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.mp4").symlink_to(astronaut)
    out = tmp_path / "r.json"
    command = ["calibrate", NAME, "--weights", "random", "--detector", "haar"]
    assert main([*command, "--clips", str(tmp_path), "--out", str(out)]) == 1
    assert "expected at least 22 different clips" in capsys.readouterr().err
    assert not out.exists()


def test_clips_are_cut_as_the_weights_want_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shipped weights have another size than a network without weights."""
    asked = []

    def collect(folder: Path, spec: ModelSpec, *others: object, prepared: object) -> None:
        asked.append(spec)
        raise CalibrationError("enough")

    monkeypatch.setattr("dfer_edge.calibration.data.from_folder", collect)
    assert main(["calibrate", NAME, "--clips", str(tmp_path), "--out", str(tmp_path / "r.json")]) == 1
    assert "enough" in capsys.readouterr().err
    assert asked == [weights.resolve(NAME, "default").spec]
    assert asked != [registry.find(NAME).spec]


@pytest.mark.parametrize("path", sorted(weights.SHIPPED.glob("*.ranges.json")), ids=lambda path: path.name)
def test_shipped_ranges_are_of_the_weights_beside_them(path: Path) -> None:
    name = path.name.removesuffix(".ranges.json")
    command = f"dfer-edge calibrate {name} --render --out {path}"
    table = RangeTable.load(path)
    assert table.model_sha256 == weights.identity(weights.resolve(name, "default")), f"of older weights: {command}"
    assert table.clips >= 128
    assert table.accuracy["clips"] >= 48
    within = table.accuracy["drop"] <= planner.BUDGET and table.accuracy["mean_probability_difference"] <= 0.01
    # Ranges that may cost more are not taken unasked, and the card says so.
    card = path.with_name(f"{name}.md").read_text(encoding="utf-8")
    assert within or (table.accuracy["drop"] > planner.BUDGET and "int8 costs" in card)


@pytest.mark.parametrize("path", sorted(weights.SHIPPED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_shipped_weights_have_ranges_or_refuse_int8(path: Path) -> None:
    if path.stem in ("slowr50_sa", "slowr50"):
        assert weights.ranges_beside(path.stem, "default") is not None
    elif weights.ranges_beside(path.stem, "default") is None:
        with pytest.raises(PrecisionUnavailable, match=f"dfer-edge calibrate {path.stem}"):
            Recognizer(path.stem, engine="onnxruntime", precision="int8", detector="haar")


def test_default_weights_in_int8_out_of_the_box(able: None, astronaut_frames: list[np.ndarray]) -> None:
    crops = [frame[40:168, 60:188] for frame in astronaut_frames[:8]]
    found = []
    for precision in ("int8", "fp32"):
        rec = Recognizer(NAME, engine="openvino", precision=precision, detector="haar", threads=1)
        assert rec.info()["precision"] == precision
        found.append(rec.predict(crops, faces="cropped"))
    assert found[0].label == found[1].label
    np.testing.assert_allclose(found[0].probabilities, found[1].probabilities, atol=0.05)


def test_build(able: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", NAME, "--engine", "openvino", "--threads", "1"]
    assert main([*command, "--precision", "int8", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["engine"], built["precision"], built["weights"]) == ("openvino", "int8", "default")
    assert built["latency_ms"] > 0
    assert Path(built["file"]).is_file()
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{NAME}, weights default: openvino" in said
    # Which precision is fastest is the machine's affair; those that lost are named with their reasons.
    lost = {line.split(":")[0].strip() for line in said.splitlines() if line.startswith("  not openvino/")}
    assert len(lost) == 2
    assert lost < {f"not openvino/{precision}" for precision in ("int8", "bf16", "fp32")}
    assert main(["build", "slowr50", "--weights", "random", "--precision", "int8", "--engine", "openvino"]) == 1
    assert "there are none" in capsys.readouterr().err


@pytest.mark.slow
def test_calibrate_on_real_media(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.ranges.json"
    command = ["calibrate", NAME, "--weights", "random", "--clips", str(media), "--count", "24", "--json"]
    assert main([*command, "--out", str(out), "--report", str(tmp_path), "--max-drop", "100"]) == 0
    result = json.loads(capsys.readouterr().out)
    table = RangeTable.load(out)
    assert table.clips + table.accuracy["clips"] <= 24
    assert result["comparison"]["clips"] == table.accuracy["clips"] >= 3
    assert 0 < result["comparison"]["mean_probability_difference"] < 0.01
    names = {f"{NAME}.int8.{suffix}" for suffix in ("json", "md", "png")}
    assert {path.name for path in tmp_path.iterdir()} == {out.name, *names}
