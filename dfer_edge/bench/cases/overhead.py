"""What the harness itself costs a query: every scenario with a system that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.measure import scenarios, timing
from dfer_edge.bench.report.results import Row

BAR_US = 20.0


def run(context: Context, case: str) -> None:
    """A row with microseconds a query, by scenario."""
    queries = 2_000 if context.plan.quick else 20_000
    found = measure(queries)
    worst = max(found.values())
    extra = {"microseconds_per_query": found, "bar": {"at_most": BAR_US, "met": worst < BAR_US}}
    context.emit(Row(case, config={"queries": queries, "system": "does nothing"}, extra=extra))


def measure(queries: int) -> dict[str, float]:
    """Processor time of a whole scenario divided by its queries; on an idle machine that is its wall time.

    Nothing is subtracted: the system under test returns at once.
    """

    def nothing(_: int) -> None:
        return None

    def cost(action: Callable[[], object]) -> float:
        begin = time.process_time()
        action()
        return (time.process_time() - begin) / queries * 1e6

    return {
        "turns": cost(lambda: timing.interleaved({"x": lambda: None}, queries, warm_up_s=0)),
        "SingleStream": cost(lambda: scenarios.single_stream(nothing, queries)),
        "MultiStream": cost(lambda: scenarios.multi_stream(nothing, queries)),
        "Offline": cost(lambda: scenarios.offline(nothing, queries, 1)),
        # All arrive at once, so that no waiting counts.
        "Server": cost(lambda: scenarios.arrivals(nothing, 1e9, queries, scenarios.Clock())),
    }
