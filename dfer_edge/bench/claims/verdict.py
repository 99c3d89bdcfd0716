"""What a claim is: a printed statement, the count that judges it, and what a results file has on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from dfer_edge.bench.cases.systems import SPEED_ONLY
from dfer_edge.bench.report.results import Row

REPRODUCED, NOT_REPRODUCIBLE, REFUTED = "reproduced", "not reproducible", "refuted"
VERDICTS = (REPRODUCED, NOT_REPRODUCIBLE, REFUTED)
CLOSE = 0.01
"""How far a count may be from the printed figure: rounding, and what counters add for norms and activations."""

Rows = Mapping[str, Row]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What counting says.

    Attributes
    ----------
    text
        For the table.
    verdict
        One of the three.
    note
        Why, where the verdict needs it.
    """

    text: str
    verdict: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """One line of the table.

    Attributes
    ----------
    id, model, statement, printed
        As in the paper; ``model`` is a name of the registry.
    compute
        Counts, and judges.
    measure
        What a results file has on it; empty if it has nothing.
    """

    id: str
    model: str
    statement: str
    printed: str
    compute: Callable[[], Answer]
    measure: Callable[[Rows], str] = lambda rows: ""


def near(printed: Sequence[float], computed: Sequence[float], close: float = CLOSE) -> str:
    """``reproduced`` if every computed number is within ``close`` of the printed one, else ``refuted``."""
    apart = (abs(ours / theirs - 1) for theirs, ours in zip(printed, computed, strict=True))
    return REPRODUCED if max(apart) <= close else REFUTED


def systems(rows: Rows, name: str) -> dict[str, Row]:
    """``engine/precision`` -> row of a network at batch 1; int8 with ranges from noise is no system that one uses."""
    own = [row for case, row in rows.items() if case.startswith(f"engine/{name}/") and row.config["batch"] == 1]
    usable = [row for row in own if row.config.get("ranges") != SPEED_ONLY]
    return {f"{row.config['engine']}/{row.config['precision']}": row for row in usable}


def best_row(rows: Rows, name: str) -> Row | None:
    """The fastest of :func:`systems`."""
    return min(systems(rows, name).values(), key=lambda row: row.latency_ms["p50"], default=None)
