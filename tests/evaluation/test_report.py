"""The command from stills to report, through the real flow."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput, PrecisionUnavailable
from dfer_edge.cli.main import main
from dfer_edge.evaluation import Plan, evaluate, write_report
from dfer_edge.models import create_model
from dfer_edge.weights import file as weights

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def stills(astronaut_frames: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stills")
    for name, index in (("happy_1", 0), ("happy_2", 20), ("sad_3", 40)):
        assert cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(astronaut_frames[index], cv2.COLOR_RGB2BGR))
    assert cv2.imwrite(str(folder / "sad_4.png"), np.zeros((64, 64, 3), np.uint8))
    (folder / "happy_5.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def other_stills(astronaut_frames: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another split, to fit a temperature on."""
    folder = tmp_path_factory.mktemp("others")
    for name, index in (("happy_1", 10), ("sad_3", 30)):
        assert cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(astronaut_frames[index], cv2.COLOR_RGB2BGR))
    return folder


def arguments(stills: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--data", str(stills), "--out", str(out), "--detector", "haar"]
    return ["evaluate", "slowr50_sa", *fixed, "--engine", "onnxruntime", "--threads", "1", *more]


def test_command(stills: Path, other_stills: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "report"
    more = [
        "--weights",
        "random",
        "--jitter",
        "2",
        "--precision",
        "fp32",
        "int8",
        "--fit-temperature",
        str(other_stills),
    ]
    assert main(arguments(stills, out, *more)) == 0
    printed = capsys.readouterr().out
    assert "3 of 5 samples (0 face crops), no face in 1 (wrong in WAR and UAR), 1 unreadable" in printed
    assert "onnxruntime/int8 cannot run here" in printed
    assert "random weights: labels are meaningless" in printed
    content = json.loads((out / "evaluation.json").read_text())
    assert content["note"].startswith("random weights")
    assert content["data"]["no_face"] == ["sad_4.png"]
    assert list(content["data"]["unreadable"]) == ["happy_5.jpg"]
    (column,) = content["columns"]
    assert column["jitter"]["draws"] == 2
    assert column["calibrated"]["temperature"] > 0
    assert set(content["not_drawn"]) == {"map of features", "Grad-CAM"}
    assert set(content["unavailable"]) == {"onnxruntime/int8"}
    page = (out / "report.html").read_text()
    assert "random weights: labels are meaningless" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/png;base64,") == 4
    assert set(column["risk_coverage"]["risk"]) == {f"{tenth / 10:.1f}" for tenth in range(1, 11)}
    assert column["risk_coverage"]["risk"]["1.0"] == pytest.approx(1 - column["war_of_found_faces"])
    for name in ("confusion", "recall", "reliability", "risk_coverage"):
        assert cv2.imread(str(out / f"{name}.png")) is not None


@pytest.mark.parametrize("listed", [False, True])
def test_a_temperature_is_not_fitted_on_what_it_is_judged_on(
    stills: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], listed: bool
) -> None:
    """Neither on the same folder, nor where some samples are in both."""
    split = tmp_path / "split.csv"
    split.write_text(f"{stills / 'happy_1.png'},happy\n{stills / 'sad_3.png'},sad\n")
    out = tmp_path / "out"
    more = ["--weights", "random", "--fit-temperature", str(split if listed else stills)]
    assert main(arguments(stills, out, *more)) == 1
    message = f"other samples than those of {stills.name}, {2 if listed else 5} are in both"
    assert message in capsys.readouterr().err.splitlines()[0]
    assert not out.exists()


def test_moved_boxes_reach_the_network(stills: Path) -> None:
    """Through a real recogniser: each draw is another crop, so other probabilities."""
    from dfer_edge.evaluation import Jitter

    plan = Plan("slowr50_sa", stills, "random", ["onnxruntime"], ["fp32"], detector="haar", threads=1, jitter=Jitter(2))
    (column,) = evaluate(plan).columns
    first, second = column.jittered[0]
    assert np.abs(first - second).max() > 1e-5
    assert np.abs(first - column.probabilities[0]).max() > 1e-5


def test_full_and_compact_weights_side_by_side_with_a_look_inside(
    stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))
    names = ("happy", "sad", "bored", "asleep")
    module = create_model("slowr50_sa", class_names=names).eval()
    module.spec = dataclasses.replace(module.spec, frames=3, size=64)
    paths = [weights.save(tmp_path / f"{c}.safetensors", module, compact=c == "small") for c in ("full", "small")]
    plan = Plan("slowr50_sa", stills, paths, ["onnxruntime"], ["fp32"], detector="haar", threads=1)
    result = evaluate(plan)
    first, second = result.content["columns"]
    assert (first["name"], second["name"]) == (
        "onnxruntime/fp32, full.safetensors",
        "onnxruntime/fp32, small.safetensors",
    )
    assert second["weights"]["compact"] == "int8"
    assert 0 < second["largest_difference_to_first"] < 0.02
    written = {path.name for path in write_report(tmp_path / "out", result)}
    assert {"grad_cam.png", "evaluation.json", "report.html"} <= written
    # Three samples make no map, and the report says so.
    assert set(json.loads((tmp_path / "out" / "evaluation.json").read_text())["not_drawn"]) == {"map of features"}


def test_weights_of_other_classes_do_not_mix(stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))
    path = weights.save(tmp_path / "w.safetensors", create_model("slowr50_sa", num_classes=4))
    with pytest.raises(InvalidInput, match="expected weights with the classes"):
        evaluate(Plan("slowr50_sa", stills, ["random", path], ["onnxruntime"], ["fp32"], detector="haar", threads=1))


def test_what_cannot_run_is_an_error_alone_and_together(stills: Path) -> None:
    with pytest.raises(PrecisionUnavailable):
        evaluate(Plan("slowr50_sa", stills, "random", ["onnxruntime"], ["int8"]))
    with pytest.raises(EngineUnavailable, match=r"onnxruntime/int8: .*tensorrt/int8: "):
        evaluate(Plan("slowr50_sa", stills, "random", ["onnxruntime", "tensorrt"], ["int8"]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--video", "v.mp4"], "--video and --expect together"),
        (["--expect", "happy:0-3"], "--video and --expect together"),
        (["--video", "v.mp4", "--expect", "happy"], "LABEL:FIRST-LAST"),
        (["--classes", "contempt"], "expected classes out of"),
    ],
)
def test_wrong_arguments(more: list[str], message: str, stills: Path, tmp_path: Path, capsys) -> None:
    assert main(arguments(stills, tmp_path / "out", "--weights", "random", *more)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_usage(stills: Path, tmp_path: Path) -> None:
    for more in (["--jitter", "0"], ["--engine", "abacus"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments(stills, tmp_path, *more))
        assert caught.value.code == 2
