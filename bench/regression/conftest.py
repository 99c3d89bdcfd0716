"""One fixture: ours against a reference that is measured in turns with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dfer_edge.bench.measure import timing

Call = Callable[[], Any]


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """On one core in CPU time, so that a busy machine changes little."""
    before = os.sched_getaffinity(0)
    timing.pin(1)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def ratio(benchmark: BenchmarkFixture) -> Callable[[Call, Call], float]:
    """A function of (ours, reference): median of ours divided by the reference's; the benchmark's table has it too."""

    def measure(ours: Call, reference: Call) -> float:
        calls = {"ours": ours, "reference": reference}
        times = timing.interleaved(calls, 60, budget_s=8.0, warm_up_s=0.2, turn_ms=3.0, clock=time.process_time)
        medians = {name: timing.summary(values)["p50"] for name, values in times.items()}
        found = float(medians["ours"] / medians["reference"])
        benchmark.extra_info["ratio to the reference"] = round(found, 4)
        benchmark.pedantic(ours, rounds=10, warmup_rounds=1)
        return found

    return measure
