from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.calibration import ClipSet, RangeTable, correct_bias, quantize, sensitivity
from dfer_edge.calibration import flow as flow_module
from dfer_edge.calibration.report import compare, layer_snr, probabilities
from dfer_edge.calibration.report_files import write_report
from dfer_edge.calibration.sensitivity import int8_engine
from dfer_edge.engines import load_engine
from dfer_edge.engines.base import EngineOptions
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.types import Box, Clip
from tests.calibration import tiny

sensitivity_module = sys.modules["dfer_edge.calibration.sensitivity"]  # the package's name is the function
LABELS = ("a", "b", "c")


def test_compare_counts_what_it_says() -> None:
    was = np.asarray([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0.7, 0.2, 0.1]])
    now = was.copy()
    now[2] = [0.5, 0.4, 0.1]
    found = compare(was, now, LABELS)
    assert (found.clips, found.top1_agreement, found.labels_seen, found.truth) == (4, 0.75, 2, "reference")
    assert found.max_probability_difference == pytest.approx(0.1)
    assert found.mean_probability_difference == pytest.approx(0.2 / 12)
    assert found.recall_delta == {"a": 0.0, "b": -0.5}
    assert found.drop == 25
    assert found.worst[0] == {"clip": 2, "difference": pytest.approx(0.1), "was": "b", "is": "a"}
    true = compare(was, now, LABELS, truth=[0, 1, 0, 2])
    assert true.recall_delta == {"a": 0.5, "b": 0.0, "c": 0.0}
    assert true.drop == pytest.approx(-100 / 6), "int8 was right where fp32 was not"


def test_compare_needs_two_equal_sets() -> None:
    with pytest.raises(CalibrationError, match="equal shapes"):
        compare(np.zeros((0, 3)), np.zeros((0, 3)), LABELS)
    with pytest.raises(CalibrationError, match="a label for each of 2 clips, got 1"):
        compare(np.zeros((2, 3)), np.zeros((2, 3)), LABELS, [0])


def test_a_layer_with_a_wrong_scale_is_heard(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    good = quantize(files["3d"], table, tmp_path / "good.onnx")
    clipped = tiny.retold(table, **{"plain.a.weight:input": table.ranges["plain.a.weight:input"].threshold / 50})
    bad = quantize(files["3d"], clipped, tmp_path / "bad.onnx")
    fine, noisy = (layer_snr(files["3d"], path, tiny.clips(2), 1) for path in (good, bad))
    assert next(iter(fine)) == "stem.weight"
    assert min(fine.values()) > 20
    assert noisy["project.a.weight"] == pytest.approx(fine["project.a.weight"], abs=0.1), "before it nothing changes"
    assert noisy["plain.a.weight"] < fine["plain.a.weight"] - 10


def test_the_search_excludes_the_layer_that_is_wrong(files: dict[str, Path], table: RangeTable) -> None:
    wrong = tiny.retold(table, **{"plain.c.weight:input": table.ranges["plain.c.weight:input"].threshold / 300})
    clips = tiny.clips(60, seed=9)
    calls: list[tuple[int, int | None]] = []
    found = sensitivity(files["3d"], wrong, clips, 3.0, threads=1, progress=lambda *call: calls.append(call))
    assert found.within
    assert found.layers[0]["layer"] == "plain.c.weight"
    assert "plain.c.weight" in found.table.exclude
    assert found.curve[0]["drop"] > 3 >= found.curve[-1]["drop"]
    assert calls
    easy = sensitivity(files["3d"], wrong, clips, 100.0, threads=1)
    assert (easy.within, easy.table, len(easy.curve), easy.layers) == (True, wrong, 1, [])


def logits(path: Path, precision: str, clips: list[dict[str, np.ndarray]]) -> np.ndarray:
    with load_engine(path, int8_engine()[0], precision, threads=1) as engine:
        return np.concatenate([engine.infer(feed)["logits"] for feed in clips]).astype(np.float64)


def test_the_search_uses_true_labels(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    wrong = tiny.retold(table, **{"plain.c.weight:input": table.ranges["plain.c.weight:input"].threshold / 300})
    clips = tiny.clips(60, seed=9)
    path = quantize(files["3d"], wrong, tmp_path / "q.onnx", int8_engine()[1])
    was, now = (found.argmax(1) for found in (logits(files["3d"], "fp32", clips), logits(path, "int8", clips)))
    truth = [int(label) if number % 3 else 0 for number, label in enumerate(was)]
    classes = np.unique(truth)
    recall = [[np.mean(found[truth == k] == k) for k in classes] for found in (was, now)]
    lost = 100 * (np.mean(recall[0]) - np.mean(recall[1]))
    found = sensitivity(files["3d"], wrong, clips, 100.0, truth=truth, threads=1)
    assert lost > 1, "nothing was lost: nothing is shown"
    assert found.curve[0]["drop"] == pytest.approx(lost)
    assert found.curve[0]["drop"] != pytest.approx(100 * np.mean(was != now)), "that is agreement"
    with pytest.raises(CalibrationError, match="at least 0 points"):
        sensitivity(files["3d"], table, tiny.clips(8), -1.0)
    with pytest.raises(CalibrationError, match="got none"):
        sensitivity(files["3d"], table, [])


def test_bias_correction_centres_the_error(files: dict[str, Path], table: RangeTable, tmp_path: Path) -> None:
    clips, calls = tiny.clips(32, seed=4), []
    once = correct_bias(files["3d"], table, clips, threads=1, progress=lambda *call: calls.append(call))
    assert calls[-1] == (32, 32)
    assert dataclasses.replace(once, logit_shift=()) == table
    exact = logits(files["3d"], "fp32", clips)
    errors = []
    for number, ranges in enumerate((table, once)):
        path = quantize(files["3d"], ranges, tmp_path / f"{number}.onnx", int8_engine()[1])
        errors.append(np.abs((logits(path, "int8", clips) - exact).mean(0)).max())
    assert errors[1] < 0.01 * errors[0]


def test_logits_that_are_not_finite_are_refused(
    monkeypatch: pytest.MonkeyPatch, files: dict, table: RangeTable
) -> None:
    class Broken:
        name, options = "broken", EngineOptions("int8", "cpu", 1)

        def infer(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"logits": np.float32([[0, np.nan, 1]])}

    with pytest.raises(InvalidInput, match="expected finite logits, got NaN or infinity from broken in int8 on clip 0"):
        probabilities(Broken(), tiny.clips(2))
    monkeypatch.setattr("dfer_edge.engines.load_engine", lambda *a, **k: contextlib.nullcontext(Broken()))
    with pytest.raises(InvalidInput, match="expected finite logits"):
        correct_bias(files["3d"], table, tiny.clips(2))


def test_a_shift_goes_with_the_layers_that_it_was_measured_with(
    files: dict[str, Path], table: RangeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tiny.retold(table, **{"plain.c.weight:input": table.ranges["plain.c.weight:input"].threshold / 300})
    shifted = dataclasses.replace(wrong, logit_shift=(1.0, 0.0, -1.0))
    tried = []
    real = sensitivity_module.quantize
    monkeypatch.setattr(
        sensitivity_module,
        "quantize",
        lambda path, ranges, *others: tried.append(ranges) or real(path, ranges, *others),
    )
    found = sensitivity(files["3d"], shifted, tiny.clips(60, seed=9), 3.0, threads=1)
    assert [bool(ranges.logit_shift) for ranges in tried] == [not ranges.exclude for ranges in tried]
    assert found.table.exclude
    assert not found.table.logit_shift
    assert sensitivity(files["3d"], shifted, tiny.clips(8), 100.0, threads=1).table == shifted


def test_the_flow_corrects_again_what_it_excluded(
    files: dict[str, Path], table: RangeTable, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tiny.retold(table, **{"plain.c.weight:input": table.ranges["plain.c.weight:input"].threshold / 300})
    monkeypatch.setattr(flow_module, "calibrate", lambda *a, **k: wrong)
    clips = ClipSet(tiny.SPEC)
    for _ in range(120):
        frames = rng.integers(0, 256, (tiny.SPEC.frames, tiny.SPEC.size, tiny.SPEC.size, 3)) * rng.random(3)
        clips.add(Clip(frames.astype(np.uint8), (), Box(0, 0, 1, 1)))
    bars: dict[str, list[tuple[int, int | None]]] = {}

    @contextlib.contextmanager
    def bar(title: str):
        yield lambda *call: bars.setdefault(title, []).append(call)

    found, report = flow_module.run(files["3d"], clips, "minmax", 0.0, 1, bar)
    assert len(report.curve) > 1
    assert found.exclude
    used, _ = clips.split(4)
    assert found.logit_shift == correct_bias(files["3d"], found, used, 1).logit_shift
    assert found.accuracy["drop"] == report.comparison.drop
    assert list(bars) == ["bias", "fp32", "sensitivity", "bias again", "accuracy", "layers"]
    assert all(calls[-1][0] == calls[-1][1] for calls in bars.values()), "a bar that does not fill"


def test_flow_and_its_files(files: dict[str, Path], rng: np.random.Generator, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    clips = ClipSet(tiny.SPEC)
    for _ in range(24):
        frames = rng.integers(0, 256, (tiny.SPEC.frames, tiny.SPEC.size, tiny.SPEC.size, 3), np.uint8)
        clips.add(Clip(frames, (), Box(0, 0, 1, 1)))
    table, report = flow_module.run(files["3d"], clips, "mse", 100.0, threads=1)
    assert (table.clips, table.method, table.accuracy["clips"]) == (18, "mse", 6)
    assert table.accuracy["drop"] == report.comparison.drop
    assert RangeTable.load(table.save(tmp_path / "t.json")) == table
    names = [path.name for path in write_report(report, tmp_path)]
    assert names == ["tiny.int8.json", "tiny.int8.md", "tiny.int8.png"]
    assert json.loads((tmp_path / names[0]).read_text())["comparison"]["clips"] == 6
    page = (tmp_path / names[1]).read_text()
    assert "Random weights" in page
    assert "gate.weight" in page
    with pytest.raises(CalibrationError, match="cannot write"):
        write_report(report, tmp_path / "missing")


def test_flow_with_true_classes_counts_recall(files: dict[str, Path], rng: np.random.Generator) -> None:
    clips = ClipSet(tiny.SPEC)
    for number in range(24):
        frames = rng.integers(0, 256, (tiny.SPEC.frames, tiny.SPEC.size, tiny.SPEC.size, 3), np.uint8)
        clips.add(Clip(frames, (), Box(0, 0, 1, 1)), number % 3)
    table, report = flow_module.run(files["3d"], clips, "minmax", 100.0, threads=1)
    assert (table.accuracy["truth"], report.comparison.truth) == ("labels", "labels")
    assert table.accuracy["drop"] == -report.comparison.uar_delta


def test_flow_with_too_few_clips(files: dict[str, Path]) -> None:
    with pytest.raises(CalibrationError, match="at least 22 different clips, got 0"):
        flow_module.run(files["3d"], ClipSet(tiny.SPEC))
    with pytest.raises(CalibrationError, match="at least 0 points, got -1"):
        flow_module.run(files["3d"], ClipSet(tiny.SPEC), max_drop=-1.0)
