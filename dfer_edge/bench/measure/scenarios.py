"""The scenarios of MLPerf Inference, in one process, with their published metrics.

SingleStream: the next query when the last is done; metric p90 latency. MultiStream: the same with 8 samples a query;
p99 latency. Offline: all samples at once; samples a second. Server: queries arrive as a Poisson process, latency counts
from the arrival, so it includes waiting; metric: the highest rate at which p99 stays within the bound.
Source: Reddi et al., MLPerf Inference Benchmark, 2020. Runs here are shorter than a submission's: samples are stated.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dfer_edge.bench.measure.timing import LEAST_SAMPLES, summary
from dfer_edge.errors import InvalidInput

Query = Callable[[int], Any]
"""Runs a query of so many samples and waits for its answer."""

SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER = "SingleStream", "MultiStream", "Offline", "Server"
METRICS = {SINGLE_STREAM: "p90", MULTI_STREAM: "p99", OFFLINE: "samples_per_s", SERVER: "samples_per_s"}
SAMPLES_PER_QUERY = 8
# Rates at which bisection stops looking: within 5 % of each other.
_CLOSE = 1.05


class Clock:
    """Seconds, and waiting; a test brings its own."""

    def now(self) -> float:
        return time.perf_counter()

    def wait_until(self, moment: float) -> None:
        """Sleep, then spin the last part of a millisecond: sleeping alone comes back too late."""
        while (left := moment - self.now()) > 0:
            if left > 1e-3:
                time.sleep(left - 5e-4)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a scenario found.

    Attributes
    ----------
    scenario
        Its name.
    latency_ms
        Of each query.
    samples_per_s
        Throughput; for Server the highest rate within the bound, 0 if there is none.
    extra
        What else defines it: samples a query, the bound, the rates tried.
    """

    scenario: str
    latency_ms: Sequence[float]
    samples_per_s: float
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def summary(self) -> dict[str, float | int]:
        """See :func:`dfer_edge.bench.measure.timing.summary`."""
        return summary(self.latency_ms)


def single_stream(
    query: Query, queries: int, budget_s: float = float("inf"), clock: Clock | None = None
) -> Measurement:
    """One sample a query, one query after the other."""
    return _stream(SINGLE_STREAM, query, 1, queries, budget_s, clock or Clock())


def multi_stream(
    query: Query,
    queries: int,
    budget_s: float = float("inf"),
    clock: Clock | None = None,
    limit_s: float = 0.0,
) -> Measurement:
    """Eight samples a query, one query after the other; up to ``limit_s`` if its metric lacks queries till then."""
    clock = clock or Clock()
    return _stream(MULTI_STREAM, query, SAMPLES_PER_QUERY, queries, budget_s, clock, LEAST_SAMPLES[99], limit_s)


def offline(query: Query, samples: int, batch: int, clock: Clock | None = None) -> Measurement:
    """All samples are there at the beginning; they are run in batches of ``batch``."""
    clock = clock or Clock()
    sizes = [batch] * (samples // batch) + ([samples % batch] if samples % batch else [])
    latencies, begin = [], clock.now()
    for size in sizes:
        query(size)
        # Every answer's latency counts from the one moment at which all were asked.
        latencies.append((clock.now() - begin) * 1e3)
    return Measurement(OFFLINE, latencies, samples / (clock.now() - begin), {"batch": batch, "samples": samples})


def server(
    query: Query,
    bound_ms: float,
    queries: int,
    highest: float,
    clock: Clock | None = None,
    seed: int = 0,
    budget_s: float = float("inf"),
) -> Measurement:
    """The highest rate of Poisson arrivals at which p99 stays within ``bound_ms``, by bisection.

    Parameters
    ----------
    query
        Runs one sample.
    bound_ms
        On the 99th percentile of latency.
    queries
        At each rate tried; at least 100, below which there is no 99th percentile.
    highest
        Queries a second that cannot be served, e.g. one a median latency.
    budget_s
        Of one rate: rates at which the queries would take longer are not tried.

    Returns
    -------
    The rate, and 0 with a ``note`` if none that was tried keeps the bound.

    Raises
    ------
    InvalidInput
        For too few queries, or if those at ``highest`` do not fit the budget.
    """
    if queries < LEAST_SAMPLES[99]:
        raise InvalidInput(f"expected at least 100 queries for a 99th percentile, got {queries}")
    if queries / highest > budget_s:
        raise InvalidInput(f"expected {queries} queries at {highest:.3g} a second to fit {budget_s:g} s")
    clock = clock or Clock()
    tried: list[dict[str, float]] = []
    low = lowest = max(queries / budget_s, highest / 64)
    high = highest
    best: list[float] = []
    while not tried or high > _CLOSE * low:
        rate = (low + high) / 2
        latencies = arrivals(query, rate, queries, clock, seed)
        p99 = float(np.percentile(latencies, 99))
        tried.append({"per_s": rate, "p99_ms": p99})
        if p99 <= bound_ms:
            low, best = rate, latencies
        else:
            high = rate
    extra = {"bound_ms": bound_ms, "queries_at_each_rate": queries, "rates": tried}
    if not best:
        extra["note"] = f"no rate above {lowest:.3g} a second keeps the bound; lower ones were not tried"
    return Measurement(SERVER, best or latencies, low if best else 0.0, extra)


def arrivals(query: Query, rate: float, queries: int, clock: Clock, seed: int = 0) -> list[float]:
    """Milliseconds from arrival to answer at ``rate`` queries a second, first come, first served."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, queries)
    latencies, begin = [], clock.now()
    for moment in begin + np.cumsum(gaps):
        clock.wait_until(float(moment))
        query(1)
        latencies.append((clock.now() - float(moment)) * 1e3)
    return latencies


def _stream(
    name: str,
    query: Query,
    size: int,
    queries: int,
    budget_s: float,
    clock: Clock,
    wanted: int = 0,
    limit_s: float = 0.0,
) -> Measurement:
    """At most ``queries``, and no more after ``budget_s``, or after ``limit_s`` while there are fewer than wanted."""
    latencies: list[float] = []
    begin = last = clock.now()
    while len(latencies) < queries and (
        len(latencies) < 3 or last - begin < (limit_s if len(latencies) < wanted and limit_s else budget_s)
    ):
        query(size)
        now = clock.now()
        latencies.append((now - last) * 1e3)
        last = now
    rate = size * len(latencies) / (last - begin)
    return Measurement(name, latencies, rate, {"samples_per_query": size})
