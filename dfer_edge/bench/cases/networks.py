"""Networks: the printed one in torch and every engine, precision and batch, timed in turns on the same weights."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.bench.cases import correctness as gate
from dfer_edge.bench.cases.accuracy import Accuracy
from dfer_edge.bench.cases.context import Context, failure
from dfer_edge.bench.cases.systems import Network, Subject, reference
from dfer_edge.bench.measure import cost, loadgen, timing
from dfer_edge.bench.measure.provenance import available_bytes
from dfer_edge.bench.measure.scenarios import OFFLINE, SINGLE_STREAM
from dfer_edge.bench.measure.timing import Call
from dfer_edge.bench.plan import SHIPPED
from dfer_edge.bench.report.results import WRONG, Row
from dfer_edge.engines.base import FloatArray

# Every loaded system holds its weights, some in two layouts; more than this share of the memory is not risked.
_MEMORY_SHARE, _COPIES = 0.7, 2.0
_COLD_SAMPLES, _COLD_S = 20, 0.5
_WITNESS_QUERIES, _WITNESS_MS = 64, 3000
_LEAST = 3
_PAUSE_S = 0.002


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A system that passed its gate."""

    subject: Subject
    batch: int
    gate: dict[str, Any]

    @property
    def case(self) -> str:
        return self.subject.case


def run(context: Context, key: str, cases: Sequence[str], accuracy: Accuracy) -> None:
    """All ``network/`` and ``engine/`` cases of one network; each gives its row."""
    plan = context.plan
    with tempfile.TemporaryDirectory() as folder:
        network = Network(key, Path(folder), plan.threads, plan.calibration)
        expected = reference(network)
        base: dict[str, float] = {}
        for group in _groups(network, cases):
            systems: list[Loaded] = []
            try:
                systems.extend(_load_all(context, network, group, expected))
                if systems:
                    _measure(context, network, systems, accuracy, base, together=len(group) == len(cases))
            finally:
                for system in systems:
                    system.subject.close()
            del systems
            gc.collect()


def _groups(network: Network, cases: Sequence[str]) -> list[list[str]]:
    """Cases that are loaded together: all, or one at a time where memory would not do."""
    together = network.bytes * _COPIES * len(cases) < _MEMORY_SHARE * available_bytes()
    return [list(cases)] if together else [[case] for case in cases]


def _load_all(
    context: Context, network: Network, cases: Sequence[str], expected: tuple[Sequence[gate.Feed], FloatArray]
) -> Iterator[Loaded]:
    """What loads and passes the gate; everything else becomes a row at once."""
    for case in cases:
        subject = None
        try:
            subject, batch = load(network, case)
            found = gate.ask(subject.run, *expected, batch, subject.precision)
        except Exception as error:  # whatever an engine throws: the others still count
            context.emit(failure(case, error))
        else:
            if found["passed"]:
                yield Loaded(subject, batch, found)
                continue
            context.emit(Row(case, WRONG, gate.reason(found), config=subject.config, gate=found))
        if subject is not None:
            subject.close()


def load(network: Network, case: str) -> tuple[Subject, int]:
    """The system that a case names, and its batch.

    Raises
    ------
    EngineUnavailable, PrecisionUnavailable
        If this machine has not got it.
    """
    kind, _, *rest = case.split("/")
    if kind == "network":
        return network.eager(case, compiled=rest[0] == "torch-compile"), 1
    engine, precision, batch = rest
    return network.engine(case, engine, precision), int(batch.removeprefix("b"))


def _measure(
    context: Context,
    network: Network,
    systems: Sequence[Loaded],
    accuracy: Accuracy,
    base: dict[str, float],
    together: bool,
) -> None:
    plan = context.plan
    feeds = {batch: network.feed(batch) for batch in {system.batch for system in systems}}
    calls: dict[str, Call] = {
        system.case: lambda system=system: system.subject.run(feeds[system.batch])  # type: ignore[misc]
        for system in systems
    }
    summaries = {case: timing.summary(values) for case, values in _times(context, systems, calls, together).items()}
    if not base and summaries:
        first = next((case for case in summaries if case.endswith("torch-eager")), next(iter(summaries)))
        base[first] = float(summaries[first]["p50"])
    for system in systems:
        if system.case not in summaries:
            continue
        row, call = _row(system, summaries[system.case], base, together), calls[system.case]
        try:
            row.cost = _cost(network, row.config["precision"])
            if not plan.quick:
                row.cold_ms = timing.summary(timing.cold(call, _COLD_SAMPLES, _COLD_S))
            row.energy = context.energy(call, system.batch)
            row.accuracy = accuracy.of(network.key, row.config, network.source.sha256) | _kept(system.gate)
            if plan.loadgen and system.batch == 1 and (plan.only or network.key == SHIPPED):
                row.witness = witness(call, summaries[system.case])
        except Exception as error:  # as above
            row = failure(system.case, error)
        context.emit(row)


def _times(
    context: Context, systems: Sequence[Loaded], calls: Mapping[str, Call], together: bool
) -> dict[str, list[float]]:
    """Milliseconds, in turns among the systems of one batch: large batches would leave the others few samples.

    A system that fails on the way is a row at once, and has no times.
    """
    plan, found, failed = context.plan, {}, dict[str, Exception]()
    warm_s = 0.2 if plan.quick else 0.4
    for batch in sorted({system.batch for system in systems}):
        own = {system.case: calls[system.case] for system in systems if system.batch == batch}
        budget_s = plan.budget_s * (0.5 if batch > 1 else 1) * (1 if together else 0.2)
        found.update(timing.interleaved(own, plan.samples, budget_s, _LEAST, warm_s, pause_s=_PAUSE_S, failed=failed))
    for case, error in failed.items():
        context.emit(failure(case, error))
    return found


def _row(system: Loaded, found: Mapping[str, float | int], base: Mapping[str, float], together: bool) -> Row:
    ((reference_case, reference_ms),) = base.items()
    batch = system.batch
    return Row(
        system.case,
        scenario=SINGLE_STREAM if batch == 1 else OFFLINE,
        config={**system.subject.config, "batch": batch, "in_turns": together},
        gate=system.gate,
        latency_ms=dict(found),
        samples_per_s=1e3 * batch / float(found["p50"]),
        reference=reference_case,
        ratio_p50=float(found["p50"]) / batch / reference_ms,
    )


def _cost(network: Network, precision: str) -> dict[str, float]:
    found = cost.of(network.source.spec)
    return {"macs": found.macs, "weights": found.weights, "bytes": found.bytes(precision)}


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate saw of accuracy: how often the label is that of fp32, on noise."""
    return {"same_label_as_fp32": found["same_label"], "on": f"{gate.ROWS} clips of noise"}


def witness(call: Call, ours: Mapping[str, float | int]) -> dict[str, Any]:
    """The load generator's opinion of the same call, and how far ours is from it."""
    # As many as take a few seconds, and enough for a median.
    queries = max(10, min(_WITNESS_QUERIES, int(_WITNESS_MS / float(ours["p50"]))))
    return loadgen.witness(lambda _: call(), SINGLE_STREAM, queries, float(ours["p50"]))
