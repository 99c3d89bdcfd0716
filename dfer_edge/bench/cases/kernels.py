"""The kernels on one core, each checked first, then timed in turns with what it replaces, in CPU time."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from dfer_edge.bench.cases.context import Context, failure
from dfer_edge.bench.measure import timing
from dfer_edge.bench.report.results import UNAVAILABLE, WRONG, Row

OURS, FLOOR = "ours", "floor"
_SAMPLES = 400


def case_module(op: str) -> ModuleType:
    """The case file of an operation, see :mod:`dfer_edge.bench.cases.kernel_cases`.

    Raises
    ------
    ImportError
        If it needs a package that is not installed.
    """
    return importlib.import_module(f"dfer_edge.bench.cases.kernel_cases.{op}")


def run(context: Context, op: str) -> None:
    """One operation: a row for ours, for each rival and for the floor."""
    case_id = f"kernel/{op}"
    cores = timing.pin(1)
    try:
        case = case_module(op)
        config = {"op": op, "title": case.TITLE, "threads": len(cores), "data": "synthetic"}
        try:
            case.check()
        except AssertionError as error:
            context.emit(Row(f"{case_id}/{OURS}", WRONG, f"its own check fails: {error}", config=config), case_id)
            return
        rows = measure(case, case_id, config, context.plan.quick)
    finally:
        timing.pin(context.plan.threads)
        # Cases set one thread, which would stay for the videos that come later.
        timing.library_threads(context.plan.threads)
    for row in rows:
        context.emit(row, case_id)


def measure(case: ModuleType, case_id: str, config: dict[str, Any], quick: bool) -> list[Row]:
    """Times of ours, of each rival that is installed, and of a copy of the bytes that must move."""
    found: dict[str, Callable[[], Any] | str] = {**case.cases(), FLOOR: copy_of(case.MOVED_BYTES)}
    calls = {name: call for name, call in found.items() if not isinstance(call, str)}
    budget_s, warm_s = (0.8, 0.1) if quick else (5.0, 0.3)
    failed: dict[str, Exception] = {}
    turn_ms = 2 if quick else 5
    times = timing.interleaved(
        calls, _SAMPLES, budget_s, warm_up_s=warm_s, turn_ms=turn_ms, clock=time.process_time, failed=failed
    )
    rows = []
    for name, call in found.items():
        row = Row(f"{case_id}/{name}", config=config)
        if isinstance(call, str):
            row.status, row.reason = UNAVAILABLE, call
        elif name in failed:
            row = failure(row.id, failed[name])
        else:
            row.latency_ms = timing.summary(times[name])
            row.cold_ms = timing.summary(timing.cold(call, 10 if quick else 30, budget_s / 8, time.process_time))
        rows.append(row)
    _compare(rows, case, case_id)
    return rows


def _compare(rows: list[Row], case: ModuleType, case_id: str) -> None:
    """Ratios to ours, and the bars that the case promises."""
    reference = next(row for row in rows if row.id == f"{case_id}/{OURS}")
    if not reference.ok:
        return
    for row in rows:
        if not row.ok:
            continue
        row.reference = reference.id
        row.ratio_p50 = float(row.latency_ms["p50"]) / float(reference.latency_ms["p50"])
        bar = case.BARS.get(row.id.rpartition("/")[2])
        if bar:
            row.extra["bar"] = {"at_least": bar.at_least, "met": bar.met(row.ratio_p50)}
        if row.id.endswith(f"/{FLOOR}"):
            row.extra["moved_bytes"] = case.MOVED_BYTES
            reference.extra["share_of_floor"] = row.ratio_p50


def copy_of(moved: int) -> Callable[[], None]:
    """A copy that reads and writes ``moved`` bytes altogether."""
    source = np.ones(moved // 2, np.uint8)
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)
