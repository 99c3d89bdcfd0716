"""MLPerf scenarios on a simulated system whose latencies are known exactly; the load generator as second witness."""

from __future__ import annotations

import importlib.util
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfer_edge.bench.cases import overhead
from dfer_edge.bench.measure import loadgen, scenarios
from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput


class Simulated(scenarios.Clock):
    """Time that passes when the system works or waits."""

    def __init__(self, ms_per_sample: float = 10.0) -> None:
        self.time_s, self.ms_per_sample, self.sizes = 0.0, ms_per_sample, []

    def now(self) -> float:
        return self.time_s

    def wait_until(self, moment: float) -> None:
        self.time_s = max(self.time_s, moment)

    def query(self, size: int) -> None:
        self.sizes.append(size)
        self.time_s += size * self.ms_per_sample / 1e3


def test_single_stream() -> None:
    system = Simulated()
    found = scenarios.single_stream(system.query, 50, clock=system)
    assert system.sizes == [1] * 50
    assert found.latency_ms == pytest.approx([10] * 50)
    assert found.samples_per_s == pytest.approx(100)
    assert found.summary()["p90"] == pytest.approx(10)


def test_multi_stream_asks_for_eight() -> None:
    system = Simulated()
    found = scenarios.multi_stream(system.query, 10, clock=system)
    assert system.sizes == [8] * 10
    assert found.latency_ms == pytest.approx([80] * 10)
    assert found.samples_per_s == pytest.approx(100)


def test_a_stream_ends_with_its_budget() -> None:
    system = Simulated(1000)
    assert len(scenarios.single_stream(system.query, 10**6, budget_s=4.5, clock=system).latency_ms) == 5


def test_offline_counts_from_one_moment_and_runs_the_rest_too() -> None:
    system = Simulated()
    found = scenarios.offline(system.query, samples=19, batch=8, clock=system)
    assert system.sizes == [8, 8, 3]
    assert found.latency_ms == pytest.approx([80, 160, 190])
    assert found.samples_per_s == pytest.approx(100)


def test_latency_of_the_server_includes_waiting() -> None:
    """First come, first served: the recursion of a queue with one server, written out."""
    system, rate = Simulated(), 80.0
    latencies = scenarios.arrivals(system.query, rate, 300, system, seed=3)
    arrival = np.cumsum(np.random.default_rng(3).exponential(1 / rate, 300))
    free, expected = 0.0, []
    for moment in arrival:
        free = max(free, moment) + 0.010
        expected.append((free - moment) * 1e3)
    assert latencies == pytest.approx(expected)
    assert max(latencies) > 20, "at 80 % load someone waits"


def test_server_finds_the_rate_that_keeps_the_bound() -> None:
    system = Simulated()
    found = scenarios.server(system.query, bound_ms=50, queries=400, highest=100, clock=system)
    kept = [entry for entry in found.extra["rates"] if entry["p99_ms"] <= 50]
    broken = [entry for entry in found.extra["rates"] if entry["p99_ms"] > 50]
    assert found.samples_per_s == max(entry["per_s"] for entry in kept)
    assert found.samples_per_s < min(entry["per_s"] for entry in broken) <= 1.05 * found.samples_per_s
    assert np.percentile(found.latency_ms, 99) <= 50


def test_server_without_a_rate_that_keeps_the_bound() -> None:
    system = Simulated()
    found = scenarios.server(system.query, bound_ms=5, queries=100, highest=100, clock=system)
    assert found.samples_per_s == 0
    assert "no rate above" in found.extra["note"]
    with pytest.raises(InvalidInput, match="at least 100 queries"):
        scenarios.server(system.query, bound_ms=5, queries=99, highest=100, clock=system)


def test_the_server_tries_no_rate_that_takes_longer_than_its_budget() -> None:
    """At 10 queries a second 100 of them take 10 s; without a budget the bisection goes down to 1.6 a second."""
    system = Simulated()
    found = scenarios.server(system.query, bound_ms=5, queries=100, highest=100, clock=system, budget_s=10)
    assert min(entry["per_s"] for entry in found.extra["rates"]) >= 10
    assert (found.samples_per_s, found.extra["note"].startswith("no rate above 10 a second")) == (0, True)
    kept = scenarios.server(system.query, bound_ms=50, queries=400, highest=100, clock=system, budget_s=10)
    assert kept.samples_per_s > 40
    with pytest.raises(InvalidInput, match="to fit 1 s"):
        scenarios.server(system.query, bound_ms=50, queries=400, highest=100, budget_s=1)


def test_multi_stream_goes_on_till_there_is_a_p99() -> None:
    system = Simulated()
    found = scenarios.multi_stream(system.query, 200, budget_s=2, clock=system, limit_s=20)
    assert len(found.latency_ms) == 100
    assert "p99" in found.summary()
    slow = scenarios.multi_stream(system.query, 200, budget_s=0.5, clock=system, limit_s=1)
    assert len(slow.latency_ms) == pytest.approx(1 / 0.08, abs=1), "no longer than the limit"
    assert len(scenarios.multi_stream(system.query, 200, budget_s=11.96, clock=system, limit_s=20).latency_ms) == 150


def test_overhead_is_told_for_every_scenario() -> None:
    assert set(overhead.measure(100)) == {"turns", "SingleStream", "MultiStream", "Offline", "Server"}


@pytest.mark.skipif(importlib.util.find_spec("mlperf_loadgen") is None, reason="mlcommons-loadgen is not installed")
def test_the_load_generator_asks_as_often_as_told() -> None:
    sizes: list[int] = []
    found = loadgen.ask(sizes.append, "SingleStream", 70)
    assert (len(sizes), set(sizes)) == (70, {1})
    assert 0 < found["p50"] <= found["p90"] <= found["p99"]
    assert found["tool"].startswith("mlcommons-loadgen ")
    sizes.clear()
    loadgen.ask(sizes.append, "MultiStream", 20)
    assert set(sizes) == {8}


def test_scenarios_that_the_load_generator_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "unavailable", lambda: "")
    with pytest.raises(InvalidInput, match="SingleStream or MultiStream, got 'Server'"):
        loadgen.ask(lambda _: None, "Server", 1)
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match="pip install mlcommons-loadgen"):
        loadgen.ask(lambda _: None, "SingleStream", 1)


def test_the_adapter_calls_the_load_generator_as_its_interface_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A double that is strict about order and types, for machines without the wheel."""
    double = Double()
    monkeypatch.setattr(loadgen, "unavailable", lambda: "")
    monkeypatch.setattr(loadgen.importlib, "import_module", lambda name: {"mlperf_loadgen": double}[name])
    sizes: list[int] = []
    found = loadgen.ask(sizes.append, "MultiStream", 5)
    assert sizes == [8] * 5
    assert (found["p50"], found["queries"]) == (2.5, 5)
    assert double.log == ["ConstructSUT", "ConstructQSL", "StartTest", "DestroyQSL", "DestroySUT"]


class Double:
    TestScenario = types.SimpleNamespace(SingleStream="single", MultiStream="multi")
    TestMode = types.SimpleNamespace(PerformanceOnly="performance")

    def __init__(self) -> None:
        self.log: list[str] = []
        self.completed: list[int] = []

    def TestSettings(self) -> Any:  # noqa: N802
        return types.SimpleNamespace()

    LogSettings = LogOutputSettings = TestSettings

    def QuerySampleResponse(self, identity: int, data: int, size: int) -> int:  # noqa: N802
        assert (data, size) == (0, 0)
        return identity

    def QuerySamplesComplete(self, responses: list[int]) -> None:  # noqa: N802
        self.completed += responses

    def ConstructSUT(self, issue: Any, flush: Any) -> str:  # noqa: N802
        self.log.append("ConstructSUT")
        self.issue = issue
        flush()
        return "sut"

    def ConstructQSL(self, total: int, loaded: int, load: Any, unload: Any) -> str:  # noqa: N802
        self.log.append("ConstructQSL")
        load([0])
        unload([0])
        return "qsl"

    def StartTestWithLogSettings(self, sut: str, qsl: str, settings: Any, log: Any) -> None:  # noqa: N802
        assert (sut, qsl, settings.mode) == ("sut", "qsl", "performance")
        assert settings.min_query_count == settings.max_query_count
        self.log.append("StartTest")
        size = settings.multi_stream_samples_per_query if settings.scenario == "multi" else 1
        for query in range(settings.min_query_count):
            self.issue([types.SimpleNamespace(id=query * size + n) for n in range(size)])
        assert self.completed == list(range(size * settings.min_query_count)), "every sample is answered once"
        lines = [{"key": "result_50.00_percentile_per_query_latency_ns", "value": 2.5e6}, {"key": "other", "value": 1}]
        path = Path(log.log_output.outdir) / "mlperf_log_detail.txt"
        path.write_text("\n".join(f":::MLLOG {json.dumps(line)}" for line in lines))

    def DestroyQSL(self, qsl: str) -> None:  # noqa: N802
        self.log.append("DestroyQSL")

    def DestroySUT(self, sut: str) -> None:  # noqa: N802
        self.log.append("DestroySUT")


def test_a_log_without_latencies(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match="expected latencies"):
        loadgen.parse(tmp_path)
