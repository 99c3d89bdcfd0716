"""Warm-up by time, turns, percentiles: with a clock of the test's own, so that nothing here depends on the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dfer_edge.bench.measure import timing


class Ticking:
    """A clock that moves when something runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_warm_up_runs_by_time_and_at_least_once() -> None:
    clock = Ticking()
    assert timing.warm_up(lambda: clock.work(0.3), 1.0, clock) == 4
    assert timing.warm_up(lambda: clock.work(5.0), 1.0, clock) == 1
    assert timing.warm_up(lambda: clock.work(5.0), 0.0, clock) == 1


def test_turns_alternate_and_times_are_each_call_s_own() -> None:
    clock, order = Ticking(), []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        clock.work(seconds)

    calls = {"a": lambda: call("a", 0.010), "b": lambda: call("b", 0.002)}
    times = timing.interleaved(calls, samples=3, warm_up_s=0, clock=clock)
    assert order == ["a", "b"] + ["a", "b"] * 3
    assert times["a"] == pytest.approx([10, 10, 10])
    assert times["b"] == pytest.approx([2, 2, 2])


def test_a_turn_by_time_leaves_out_its_first_call() -> None:
    clock, costs = Ticking(), iter([9.0, *[0.002] * 100])
    times = timing.interleaved({"x": lambda: clock.work(next(costs))}, 5, warm_up_s=0, turn_ms=10, clock=clock)
    assert times["x"] == pytest.approx([2] * 5)
    clock, costs = Ticking(), iter([1.0, 9.0, *[0.002] * 100])
    times = timing.interleaved({"x": lambda: clock.work(next(costs))}, 5, warm_up_s=0, turn_ms=10, clock=clock)
    assert max(times["x"]) == pytest.approx(2)


def test_a_budget_ends_the_run_but_not_before_the_least() -> None:
    times = timing.interleaved({"x": lambda: None}, samples=10**6, budget_s=0.0, least=4, warm_up_s=0)
    assert len(times["x"]) == 4


def test_percentiles_need_samples() -> None:
    few = timing.summary([3.0, 1.0, 2.0])
    assert few == {"min": 1.0, "mean": 2.0, "p50": 2.0, "samples": 3}
    many = timing.summary([float(value) for value in range(1, 202)])
    assert (many["p50"], many["p90"], many["p99"]) == (101, 181, 199)
    assert "p99" not in timing.summary([1.0] * 99)
    assert "p90" not in timing.summary([1.0] * 9)
    assert {"p90", "p99"} <= set(timing.summary([1.0] * 100))


def test_the_last_level_cache_is_read(tmp_path: Path) -> None:
    for number, size in enumerate(("48K", "1024K", "32M", "odd")):
        (tmp_path / f"index{number}").mkdir()
        (tmp_path / f"index{number}" / "size").write_text(size + "\n")
    assert timing.last_level_cache_bytes(tmp_path) == 32 << 20
    assert timing.last_level_cache_bytes(tmp_path / "nothing") == 32 << 20


def test_cold_runs_evict_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "last_level_cache_bytes", lambda: 64)
    clock = Ticking()
    assert timing.cold(lambda: clock.work(0.004), 5, 100.0, clock) == pytest.approx([4] * 5)


def test_pinning_keeps_to_the_cores_and_can_be_widened_again() -> None:
    order = timing.preferred(timing._ALLOWED)
    assert timing.pin(1) == order[:1]
    assert os.sched_getaffinity(0) == set(order[:1])
    assert timing.pin(len(order)) == order
    assert os.sched_getaffinity(0) == timing._ALLOWED


def test_fast_cores_are_taken_first_and_core_0_last_among_equals(tmp_path: Path) -> None:
    assert timing.preferred({0, 1, 2}, tmp_path) == [1, 2, 0]
    for core, kilohertz in enumerate((3_000_000, 3_000_000, 2_000_000, 2_000_000)):
        (tmp_path / f"cpu{core}" / "cpufreq").mkdir(parents=True)
        (tmp_path / f"cpu{core}" / "cpufreq" / "cpuinfo_max_freq").write_text(f"{kilohertz}\n")
    assert timing.preferred({3, 2, 1, 0}, tmp_path) == [1, 0, 2, 3]
