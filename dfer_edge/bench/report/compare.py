"""Two results files against each other: what became slower, what stopped working."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from dfer_edge.bench.measure.scenarios import METRICS
from dfer_edge.bench.report.results import Results, Row
from dfer_edge.errors import InvalidInput

TOLERANCE, ROW_TOLERANCE = 0.10, 0.50


@dataclasses.dataclass(frozen=True)
class Change:
    """One case in both files.

    Attributes
    ----------
    before, after
        Ratio to the reference that was timed in turns with it (of a kernel's rival, ours to the rival); of a scenario
        its metric, rates as milliseconds a sample; milliseconds of other cases.
    by
        ``ratio``, ``p50``, ``p90``, ``p99`` or ``ms_per_sample``.
    """

    id: str
    before: float
    after: float
    by: str

    @property
    def factor(self) -> float:
        """Above 1: slower than before."""
        return self.after / self.before


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes
    ----------
    changes
        Cases measured in both, slowest first.
    lost
        Cases that ran before and do not now though they were to run, and why.
    median
        Of the factors; None if nothing that ran before still does.
    problems
        Why the second file is not accepted; empty if it is.
    notes
        What a reader should know: other devices, partial files, cases of one file only.
    """

    changes: list[Change]
    lost: dict[str, str]
    median: float | None
    problems: list[str]
    notes: list[str]

    def document(self) -> dict[str, Any]:
        """JSON-safe."""
        changes = [{**dataclasses.asdict(change), "factor": change.factor} for change in self.changes]
        return {**dataclasses.asdict(self), "changes": changes}


def compare(
    first: Results, second: Results, tolerance: float = TOLERANCE, row_tolerance: float = ROW_TOLERANCE
) -> Comparison:
    """Hold ``second`` against ``first``.

    Times are compared as ratios to the reference of the same run where both files have the same reference: a busy or
    slower machine then changes nothing. A reference itself (ratio 1) is left out.

    Parameters
    ----------
    tolerance
        On the median factor over all cases, either way.
    row_tolerance
        On how much slower a single case may be.

    Raises
    ------
    InvalidInput
        If no case is in both, and the second file was to measure none of the first.
    """
    changes = [change for name, row in first.rows.items() if (change := _change(row, second.rows.get(name)))]
    lost = {name: reason for name, row in first.rows.items() if row.ok and (reason := _lost(row, second))}
    if not changes and not lost:
        raise InvalidInput(f"expected two files with a measured case in common, got {first.path} and {second.path}")
    changes.sort(key=lambda change: -change.factor)
    median = statistics.median(change.factor for change in changes) if changes else None
    problems = [f"{name} ran before: {reason}" for name, reason in lost.items()]
    if median is not None and not 1 / (1 + tolerance) <= median <= 1 + tolerance:
        problems.append(f"the median factor is {median:.3f}, allowed is {1 + tolerance:g} either way")
    problems += [f"{c.id} takes {c.factor:.2f} times as long" for c in changes if c.factor > 1 + row_tolerance]
    return Comparison(changes, lost, median, problems, _notes(first, second))


def _lost(row: Row, second: Results) -> str:
    """Why a case that ran before has no figure now; empty if it has, or was not to run."""
    case = next((case for case in second.plan.get("cases", ()) if f"{row.id}/".startswith(f"{case}/")), None)
    # An error before the parts of a case are known is a row of the whole case.
    other = second.rows.get(row.id) or second.rows.get(case or "")
    if other is not None and not other.ok:
        return f"{other.status}: {other.reason}"
    if other is None and case is not None:
        return f"it was to run, and is not in {second.path}" + ("" if second.complete else f": {second.reason}")
    if other is not None and row.samples_per_s and other.samples_per_s == 0:
        return "it serves no rate within the bound"
    return ""


def _change(row: Row, other: Row | None) -> Change | None:
    if other is None or not (row.ok and other.ok) or "p50" not in row.latency_ms or "p50" not in other.latency_ms:
        return None
    if row.group == "scenario":
        return _metric(row, other)
    if row.reference and row.reference == other.reference and row.ratio_p50 and other.ratio_p50:
        if row.reference == row.id:
            return None
        # The reference of kernels is ours: a rival that takes less of it than before means that ours is slower. Other
        # forms of ours are held against the first like any system.
        rival = row.group.startswith("kernel") and not row.id.rpartition("/")[2].startswith("ours")
        power = -1 if rival else 1
        return Change(row.id, row.ratio_p50**power, other.ratio_p50**power, "ratio")
    return Change(row.id, float(row.latency_ms["p50"]), float(other.latency_ms["p50"]), "p50")


def _metric(row: Row, other: Row) -> Change | None:
    """A scenario by its published metric; by the median where there are too few queries for the percentile."""
    metric = METRICS[row.scenario]
    if metric == "samples_per_s":
        # A Server that keeps the bound at no rate has a rate of 0 and nothing to divide by.
        if not (row.samples_per_s and other.samples_per_s):
            return None
        return Change(row.id, 1e3 / row.samples_per_s, 1e3 / other.samples_per_s, "ms_per_sample")
    both = metric if metric in row.latency_ms and metric in other.latency_ms else "p50"
    return Change(row.id, float(row.latency_ms[both]), float(other.latency_ms[both]), both)


def _notes(first: Results, second: Results) -> list[str]:
    notes = []
    for what in ("device", "pinned_to", "onnxruntime", "openvino", "torch"):
        before, after = first.provenance.get(what), second.provenance.get(what)
        if before != after:
            notes.append(f"{what} differs: {before} and {after}")
    partial = [results for results in (first, second) if not results.complete]
    notes += [f"{results.path} is partial: {results.reason}" for results in partial]
    alone = set(first.rows) ^ set(second.rows)
    return notes + ([f"{len(alone)} cases are in one file only"] if alone else [])
