"""What every case gets: the plan, where rows go, and the sensors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from dfer_edge.bench.measure import sensors as sensing
from dfer_edge.bench.measure.sensors import Sensor
from dfer_edge.bench.plan import Plan
from dfer_edge.bench.report.results import FAILED, UNAVAILABLE, Row
from dfer_edge.errors import DferError, EngineUnavailable, PrecisionUnavailable, WeightsNotFound

_MISSING = (EngineUnavailable, PrecisionUnavailable, WeightsNotFound, ImportError)
_ENERGY_S = 2.0


@dataclasses.dataclass
class Context:
    """One run's surroundings.

    Attributes
    ----------
    plan
        What to measure.
    report
        Takes each row as soon as it is known.
    sensors
        Of energy; empty where none can be read.
    """

    plan: Plan
    report: Callable[[Row], None]
    sensors: list[Sensor] = dataclasses.field(default_factory=list)

    def emit(self, row: Row, case: str = "") -> None:
        """Give a row its command and clocks, and hand it on; ``case`` if the row is a part of one."""
        row.command = self.plan.command(case or row.id)
        if row.ok:
            row.device = sensing.state()
        self.report(row)

    def refuse(self, case: str, reason: str, **config: Any) -> None:
        """Say why a case cannot run."""
        self.emit(Row(case, UNAVAILABLE, reason, config=config))

    def energy(self, call: Callable[[], Any], samples: int) -> dict[str, Any]:
        """Joules a sample by each sensor, over two seconds of ``call`` with ``samples`` samples; empty without one."""
        if not self.sensors:
            return {}
        begin, count = time.perf_counter(), 0
        with sensing.measured(self.sensors) as joules:
            while time.perf_counter() - begin < _ENERGY_S:
                call()
                count += samples
            seconds = time.perf_counter() - begin
        watts = {name: value / seconds for name, value in joules.items()}
        return {"joules_per_sample": {n: v / count for n, v in joules.items()}, "watts": watts, "seconds": seconds}


def failure(case: str, error: Exception) -> Row:
    """The row of a case that could not run."""
    missing = isinstance(error, _MISSING)
    reason = str(error) if isinstance(error, DferError) else f"{type(error).__name__}: {error}"
    return Row(case, UNAVAILABLE if missing else FAILED, " ".join(reason.split()))
