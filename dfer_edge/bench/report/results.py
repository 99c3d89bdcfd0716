"""The results file: JSON lines, each complete in itself, written as soon as it is known.

Line kinds: ``run`` (first: provenance and plan), ``row`` (one case, with the provenance again, so that a line may
travel alone), ``peaks`` (what the machine can do), ``end`` (last). A file without an ``end`` line, or with one that
says so, is of a run that was interrupted: its rows are good, and every reader says that it is partial.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from dfer_edge.errors import CorruptArtifact, InvalidInput, SourceNotFound

SCHEMA = "dfer_edge.bench/1"
HERE = "evaluated in this run"
"""The ``source`` of accuracies that this machine gave; others name the file that they are from."""
OK, UNAVAILABLE, FAILED, WRONG = "ok", "unavailable", "failed", "wrong"


@dataclasses.dataclass
class Row:
    """One case, measured or not.

    Attributes
    ----------
    id
        Name of the case, e.g. ``engine/slowr50_sa/openvino/bf16/b1``.
    status, reason
        ``ok``, ``unavailable`` (what is missing), ``failed`` (the error), ``wrong`` (did not pass its gate: no times).
    scenario
        One of :mod:`dfer_edge.bench.measure.scenarios`.
    config
        Model, engine, precision, batch, threads, weights, data and their like.
    gate
        What was checked before timing: ``difference`` and ``tolerance``, and what the labels did.
    latency_ms, cold_ms
        Summary of a query's milliseconds with hot and with cold caches.
    samples_per_s
        Clips (images for image networks, frames for videos) a second.
    reference, ratio_p50
        Case that was timed in turns with this one, and this median divided by its.
    stages_ms
        Median milliseconds by stage.
    cost
        MACs and bytes of one sample.
    accuracy, energy, device, witness, extra
        Accuracy beside speed; joules; clocks and temperature; a second opinion on the times; what else the case says.
    command
        Runs this row again.
    """

    id: str
    status: str = OK
    reason: str = ""
    scenario: str = "SingleStream"
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    gate: dict[str, Any] = dataclasses.field(default_factory=dict)
    latency_ms: dict[str, float | int] = dataclasses.field(default_factory=dict)
    cold_ms: dict[str, float | int] = dataclasses.field(default_factory=dict)
    samples_per_s: float | None = None
    reference: str = ""
    ratio_p50: float | None = None
    stages_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    cost: dict[str, float] = dataclasses.field(default_factory=dict)
    accuracy: dict[str, Any] = dataclasses.field(default_factory=dict)
    energy: dict[str, Any] = dataclasses.field(default_factory=dict)
    device: dict[str, Any] = dataclasses.field(default_factory=dict)
    witness: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""

    @property
    def group(self) -> str:
        return self.id.split("/")[0]

    @property
    def ok(self) -> bool:
        return self.status == OK


@dataclasses.dataclass(frozen=True)
class Results:
    """A results file as read.

    Attributes
    ----------
    rows
        Of two rows with one id, the later.
    provenance
        Of the run.
    plan
        What it was to measure: the fields of :class:`dfer_edge.bench.plan.Plan`, and ``cases``.
    minutes
        That it took; None in files of earlier releases and of runs that were killed.
    peaks
        See :mod:`dfer_edge.bench.measure.peaks`; empty if not measured.
    complete, reason
        Whether the run came to its end, and if not, why.
    """

    path: Path
    rows: dict[str, Row]
    provenance: dict[str, Any]
    peaks: dict[str, Any]
    complete: bool
    reason: str = ""
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    minutes: float | None = None


class Writer:
    """Appends lines to a new file as they come; leaving by an exception marks the file as partial."""

    def __init__(self, path: Path, provenance: dict[str, Any], plan: dict[str, Any]) -> None:
        if not path.parent.is_dir():
            raise InvalidInput(f"expected a folder to write into, found none at {path.parent}")
        self._file, self._provenance, self._begin = path.open("w"), provenance, time.monotonic()
        self._line("run", provenance=provenance, plan=plan)

    def row(self, row: Row) -> None:
        """Write a case."""
        filled = {key: value for key, value in dataclasses.asdict(row).items() if value not in ({}, "", None)}
        self._line("row", **filled, provenance=self._provenance)

    def peaks(self, peaks: dict[str, Any]) -> None:
        """Write what the machine can do."""
        self._line("peaks", peaks=peaks, provenance=self._provenance)

    def _line(self, kind: str, **content: Any) -> None:
        self._file.write(json.dumps({"schema": SCHEMA, "kind": kind, **content}) + "\n")
        self._file.flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reason = "" if kind is None else "interrupted" if kind is KeyboardInterrupt else f"{kind.__name__}: {error}"
        minutes = (time.monotonic() - self._begin) / 60
        self._line("end", complete=kind is None, reason=reason, minutes=round(minutes, 2))
        self._file.close()


def read(path: str | Path) -> Results:
    """Read a results file, whole or partial.

    Raises
    ------
    SourceNotFound
        If there is none.
    CorruptArtifact
        If it is of another schema, or no results file.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceNotFound(f"expected a results file, found nothing at {path}")
    try:
        return _read(path)
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifact(f"expected lines of a bench, got {path} whose lines lack {error}") from error


def _read(path: Path) -> Results:
    rows: dict[str, Row] = {}
    provenance: dict[str, Any] = {}
    peaks: dict[str, Any] = {}
    plan: dict[str, Any] = {}
    complete, reason, minutes = False, "no end line: the run was killed", None
    lines = path.read_text(errors="replace").splitlines()
    for number, text in enumerate(lines, 1):
        line = _parse(text, path, number, number == len(lines))
        if line is None:
            reason = "the last line is cut off: the run was killed"
        elif line["kind"] == "run":
            provenance, plan = line["provenance"], line.get("plan", {})
        elif line["kind"] == "row":
            row = _row(line, path, number)
            rows[row.id] = row
        elif line["kind"] == "peaks":
            peaks = line["peaks"]
        elif line["kind"] == "end":
            complete, reason, minutes = line["complete"], line["reason"], line.get("minutes")
    if not provenance:
        raise CorruptArtifact(f"expected a results file that begins with its run, got {path}")
    return Results(path, rows, provenance, peaks, complete, reason, plan, minutes)


def _parse(text: str, path: Path, number: int, is_last: bool) -> dict[str, Any] | None:
    """A line; None for a last one that was cut off."""
    try:
        line = json.loads(text)
    except ValueError as error:
        if is_last and number > 1:
            return None
        raise CorruptArtifact(f"expected JSON lines of a bench, got {path} whose line {number} is none") from error
    schema = line.get("schema") if isinstance(line, dict) else None
    if schema != SCHEMA or "kind" not in line:
        hint = "run the bench again, or read the file with the release that wrote it"
        raise CorruptArtifact(f"expected schema {SCHEMA}, got {schema!r} in line {number} of {path}", hint)
    return dict(line)


def _row(line: dict[str, Any], path: Path, number: int) -> Row:
    known = {field.name for field in dataclasses.fields(Row)}
    try:
        return Row(**{key: value for key, value in line.items() if key in known})
    except TypeError as error:
        raise CorruptArtifact(f"expected a case in line {number} of {path}: {error}") from error
