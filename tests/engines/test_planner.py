"""The planner against engines whose speed a test decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge import EngineUnavailable
from dfer_edge import engines as engines_module
from dfer_edge.cache import store as cache
from dfer_edge.engines import Choice, planner
from dfer_edge.engines.tensorrt.build_progress import BuildState, reporting_to
from dfer_edge.errors import CorruptArtifact


class Clocked:
    """An engine that takes as long as it was told."""

    def __init__(self, ms: float) -> None:
        self.ms, self.input_shapes, self.calls = ms, {"clip": (3, 2, 4, 4)}, 0
        self.input_dtypes = {"clip": np.dtype(np.float32)}

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None: ...

    def infer(self, feed: dict) -> None:
        assert feed["clip"].shape == (1, 3, 2, 4, 4)
        assert np.ptp(feed["clip"]) > 0
        self.calls += 1
        Clock.now_s += self.ms / 1e3


class Clock:
    """Goes only while an engine computes: a busy machine changes no verdict."""

    now_s = 0.0


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    monkeypatch.setattr(planner.time, "perf_counter", lambda: Clock.now_s)
    monkeypatch.setattr(engines_module, "reasons", lambda name: "")
    able = {"fp32": "", "bf16": "", "fp16": "no fp16", "int8": ""}
    monkeypatch.setattr(engines_module, "precision_reasons", lambda name: able)


def make(**ms: float):
    """A loader, and the list of what it loaded."""
    loaded: list[str] = []

    def load(choice: Choice):
        loaded.append(f"{choice.engine}_{choice.precision}")
        if loaded[-1] not in ms:
            raise CorruptArtifact("does not load")
        return Clocked(ms[loaded[-1]])

    return load, loaded


FIELDS = {"model": "tiny", "weights_sha256": "1"}
GOOD = {"drop": 0.3, "clips": 200}


def test_the_fastest_within_the_budget_wins_and_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    load, loaded = make(openvino_int8=1, openvino_bf16=8, openvino_fp32=16)
    with caplog.at_level("INFO", "dfer_edge"):
        found = planner.plan(load, GOOD, FIELDS)
    assert found.choice == Choice("openvino", "int8")
    assert "times as long" in found.lost["openvino/bf16"]
    assert found.lost["onnxruntime/fp32"] == "does not load"
    assert "only simulates" in found.lost["onnxruntime/int8"]
    assert found.lost["openvino/bf16"] in caplog.text
    assert "torch" in found.lost
    assert "runs on device cuda" in found.lost["onnxruntime-cuda"]
    before = len(loaded)
    assert planner.plan(load, GOOD, FIELDS) == found
    assert len(loaded) == before, "measured once"
    planner.plan(load, GOOD, {**FIELDS, "weights_sha256": "2"})
    assert len(loaded) == 2 * before, "other weights are another question"


@pytest.mark.parametrize(
    ("accuracy", "reason"),
    [
        ({}, "never measured"),
        ({"drop": 0.6, "clips": 9}, "0.6 points on 9 clips"),
        ({"drop": float("nan")}, "costs nan"),
    ],
)
def test_int8_without_accuracy_is_no_candidate(accuracy: dict, reason: str) -> None:
    load, loaded = make(openvino_int8=1, openvino_bf16=4, openvino_fp32=8, onnxruntime_fp32=8, onnxruntime_bf16=8)
    found = planner.plan(load, accuracy, FIELDS)
    assert found.choice == Choice("openvino", "bf16")
    assert reason in found.lost["openvino/int8"]
    assert "openvino_int8" not in loaded


def test_one_engine_and_none() -> None:
    load, loaded = make(onnxruntime_fp32=1)
    assert planner.plan(load, {}, FIELDS, "onnxruntime").choice == Choice("onnxruntime", "fp32")
    assert {name.split("_")[0] for name in loaded} == {"onnxruntime"}
    with pytest.raises(EngineUnavailable, match="openvino/bf16: does not load"):
        planner.plan(make()[0], {}, FIELDS)


def test_a_damaged_choice_is_measured_again() -> None:
    load, loaded = make(openvino_fp32=1, openvino_bf16=5)
    first = planner.plan(load, {}, FIELDS, "openvino")
    (entry,) = cache.entries("choices")
    (entry.path / "plan.json").write_text("{}")
    assert planner.plan(load, {}, FIELDS, "openvino").choice == first.choice
    assert len(loaded) == 4


def test_who_is_far_behind_is_not_timed_for_long() -> None:
    slow, close = Clocked(40), Clocked(1)
    assert planner.latency_ms(slow, best_ms=2) == pytest.approx(40)
    assert planner.latency_ms(close) == pytest.approx(1)
    assert slow.calls < close.calls


def test_measuring_shows_its_progress_and_can_be_interrupted() -> None:
    load, _ = make(openvino_int8=1, openvino_bf16=2, openvino_fp32=2, onnxruntime_fp32=2, onnxruntime_bf16=2)
    seen: list[BuildState] = []
    with reporting_to(seen.append):
        planner.plan(load, GOOD, FIELDS)
    fractions = [state.fraction for state in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert "tiny" in seen[0].what

    def stop(state: BuildState) -> None:
        raise KeyboardInterrupt

    with reporting_to(stop), pytest.raises(KeyboardInterrupt):
        planner.plan(load, GOOD, {**FIELDS, "weights_sha256": "3"})
    assert len(cache.entries("choices")) == 1, "an interrupted measurement leaves no choice"


def test_on_a_gpu_int8_competes_with_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    able = {"fp32": "", "bf16": "no", "fp16": "", "int8": ""}
    torch_able = able | {"int8": "torch runs no Q/DQ files"}
    monkeypatch.setattr(engines_module, "precision_reasons", lambda name: torch_able if name == "torch" else able)
    monkeypatch.setattr(planner, "_gpu", lambda: "Simulated GPU 8.7")
    load, loaded = make(torch_fp16=3.0, tensorrt_fp16=2.0, tensorrt_int8=1.0)
    found = planner.plan(load, {"drop": 0.1, "clips": 9}, {"model": "m"}, device="cuda")
    assert found.choice == Choice("tensorrt", "int8")
    assert loaded == ["torch_fp16", "tensorrt_int8", "tensorrt_fp16"], "fp32 is not even built"
    assert found.lost["openvino"] == "runs on device cpu"
    assert found.lost["onnxruntime-tensorrt"] == "ask for it by name"
    over = planner.plan(load, {"drop": 0.9, "clips": 9}, {"model": "m"}, device="cuda")
    assert over.choice == Choice("tensorrt", "fp16")
    assert "0.9 points" in over.lost["tensorrt/int8"]
    monkeypatch.setattr(planner, "_gpu", lambda: "Another GPU 9.0")
    loaded.clear()
    planner.plan(load, {"drop": 0.1, "clips": 9}, {"model": "m"}, device="cuda")
    assert loaded, "a choice of another card was taken"
