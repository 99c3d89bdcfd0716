"""A whole run: every selected case in order, into one results file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dfer_edge.bench.cases.accuracy import Accuracy, require_data
from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.measure import peaks, provenance, timing
from dfer_edge.bench.measure import sensors as sensing
from dfer_edge.bench.plan import Plan, portable
from dfer_edge.bench.report.results import Results, Row, Writer, read
from dfer_edge.errors import EngineUnavailable

Report = Callable[[Row, int, int], None]


def run(plan: Plan, path: Path, command: str, report: Report = lambda row, done, total: None) -> Results:
    """Measure what ``plan`` selects and write ``path`` line by line.

    Parameters
    ----------
    plan
        What to measure.
    path
        Of the results file (JSON lines), overwritten.
    command
        What the user called, for the file.
    report
        Called with each row, the cases done and the cases in all.

    Returns
    -------
    The results, read back. Rows that were not possible say why; an interrupted run leaves its rows and is marked.

    Raises
    ------
    InvalidInput
        If there is no folder to write into.
    DferError
        If ``plan.data`` cannot be evaluated on.
    """
    require_data(plan.data)
    cores = timing.pin(plan.threads)
    cases = plan.selected()
    done: set[str] = set()
    sensors = sensing.find()
    facts = provenance.collect(cores, command) | {"energy_sensors": [sensor.name for sensor in sensors]}
    try:
        with Writer(path, facts, _plan(plan, cases)) as writer:

            def emit(row: Row) -> None:
                writer.row(row)
                report(row, len(done), len(cases))

            context = Context(plan, emit, sensors)
            for batch in _batches(cases):
                if batch[0] == _PEAKS:
                    if not plan.only:
                        writer.peaks(_peaks(plan))
                    continue
                done.update(batch)
                _run(context, batch)
    finally:
        for sensor in sensors:
            sensor.close()
    return read(path)


_PEAKS = "peaks"


def _peaks(plan: Plan) -> dict[str, Any]:
    """Of the CPU, and of a GPU if torch sees one."""
    from dfer_edge.bench.cases import cuda_kernels

    found = peaks.measure(plan.threads, 20, 0.7 if plan.quick else 2.0)
    try:
        return found | {"cuda": cuda_kernels.peaks()}
    except EngineUnavailable:
        return found


def _plan(plan: Plan, cases: list[str]) -> dict[str, Any]:
    fields = dataclasses.asdict(plan)
    shown = {name: portable(str(fields[name])) for name in ("video", "calibration", "data") if fields[name] is not None}
    return {**fields, **shown, "cases": cases}


def _batches(cases: list[str]) -> list[list[str]]:
    """Cases that run together: those of one network, and its scenarios; the peaks come after the first."""
    found: dict[tuple[str, ...], list[str]] = {}
    for case in cases:
        kind, key = case.split("/")[:2]
        together = {"network": ("network", key), "engine": ("network", key), "scenario": ("scenario", key)}
        found.setdefault(together.get(kind, (case,)), []).append(case)
    batches = list(found.values())
    return [*batches[:1], [_PEAKS], *batches[1:]]


def _run(context: Context, batch: list[str]) -> None:
    """Run cases; an error becomes the row of each that has none yet, also beside rows of its parts."""
    told: set[str] = set()
    inner = context.report

    def report(row: Row) -> None:
        told.add(row.id)
        inner(row)

    watched = dataclasses.replace(context, report=report)
    try:
        _dispatch(watched, batch)
    except Exception as error:  # whatever an engine or a user's pipeline throws: the other cases still count
        from dfer_edge.bench.cases.context import failure

        for case in batch:
            if case not in told:
                context.emit(failure(case, error))


def _dispatch(context: Context, batch: list[str]) -> None:
    # Imported when needed: a run of the kernels needs no engine, and one of an engine no kernels' rivals.
    from dfer_edge.bench.cases import cuda_kernels, kernels, live_latency, networks, overhead, video
    from dfer_edge.bench.cases import per_frame_peers as perframe
    from dfer_edge.bench.cases import scenarios as scenario_cases

    plan, (kind, name) = context.plan, batch[0].split("/")[:2]
    if kind in ("network", "engine"):
        networks.run(context, name, batch, Accuracy(plan.data, plan.threads, plan.calibration))
    elif kind == "scenario":
        scenario_cases.run(context, name, batch)
    elif kind in ("kernel", "kernel-cuda"):
        (kernels if kind == "kernel" else cuda_kernels).run(context, name)
    else:
        single = {
            "overhead": overhead.run,
            "step": scenario_cases.run_step,
            "video": video.run,
            "live": video.run,
            "glass": live_latency.run,
            "pipeline": perframe.run,
        }
        single[kind](context, batch[0])
