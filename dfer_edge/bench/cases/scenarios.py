"""MLPerf scenarios and sliding windows of one network on the engine that ``auto`` means here."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import engines
from dfer_edge.bench.cases import correctness as gate
from dfer_edge.bench.cases.context import Context, failure
from dfer_edge.bench.cases.systems import Network, Subject, reference
from dfer_edge.bench.measure import loadgen, scenarios, timing
from dfer_edge.bench.measure.scenarios import MULTI_STREAM, OFFLINE, SAMPLES_PER_QUERY, SERVER, Measurement, Query
from dfer_edge.bench.report.results import WRONG, Row
from dfer_edge.engines.base import FloatArray
from dfer_edge.export import onnx_file as export
from dfer_edge.flow.streaming import StreamingState
from dfer_edge.inference import Part, Streaming, record, registry

_OFFLINE_BATCH = 8
_BATCHES = {OFFLINE: _OFFLINE_BATCH, MULTI_STREAM: SAMPLES_PER_QUERY, SERVER: 1}
_SERVER_QUERIES = 100
_STEP_SAMPLES = 40
_PRECISION = "fp32"
_PARTS: tuple[Part, ...] = ("whole", "features", "head")


def run(context: Context, key: str, cases: Sequence[str]) -> None:
    """Offline, MultiStream and Server of one network."""
    plan = context.plan
    choice = engines.choose()
    with tempfile.TemporaryDirectory() as folder:
        network = Network(key, Path(folder), plan.threads, plan.calibration)
        inputs, expected = reference(network)
        subject = network.engine(cases[0], choice.engine, choice.precision)
        feeds = {size: network.feed(size) for size in (1, SAMPLES_PER_QUERY, _OFFLINE_BATCH)}
        query: Query = lambda size: subject.run(feeds[size])  # noqa: E731
        try:
            for case in cases:
                context.emit(_row(context, case, subject, query, (inputs, expected)))
        finally:
            subject.close()


def _row(
    context: Context, case: str, subject: Subject, query: Query, expected: tuple[Sequence[gate.Feed], FloatArray]
) -> Row:
    """The gate at the scenario's batch, then the scenario."""
    plan, name = context.plan, case.rpartition("/")[2]
    try:
        found = gate.ask(subject.run, *expected, _BATCHES[name], subject.precision)
        if not found["passed"]:
            return Row(case, WRONG, gate.reason(found), config=subject.config, gate=found)
        timing.warm_up(lambda: query(1), 0.2 if plan.quick else 0.7)
        measurement = measure(context, name, query)
    except Exception as error:  # whatever an engine throws, at one batch perhaps: the other scenarios still count
        return failure(case, error)
    row = Row(case, scenario=measurement.scenario, config=subject.config, gate=found, extra=measurement.extra)
    row.latency_ms, row.samples_per_s = measurement.summary(), measurement.samples_per_s
    if plan.loadgen and measurement.scenario == MULTI_STREAM:
        row.witness = loadgen.witness(query, MULTI_STREAM, 32, float(row.latency_ms["p50"]))
    return row


def measure(context: Context, name: str, query: Query) -> Measurement:
    """One scenario within its share of the time."""
    plan = context.plan
    budget_s = 1.0 if plan.quick else 10.0
    probe = scenarios.single_stream(query, 5)
    one_s = float(probe.summary()["p50"]) / 1e3
    if name == OFFLINE:
        samples = max(_OFFLINE_BATCH, int(0.5 * budget_s / one_s) // _OFFLINE_BATCH * _OFFLINE_BATCH)
        return scenarios.offline(query, samples, _OFFLINE_BATCH)
    if name == MULTI_STREAM:
        return scenarios.multi_stream(query, plan.samples, budget_s, limit_s=6 * budget_s)
    rate_s = 5.0 if plan.quick else 20.0
    note = "not even an idle system keeps the bound" if one_s * 1e3 > plan.bound_ms else ""
    if not note and _SERVER_QUERIES * one_s > rate_s:
        note = f"{_SERVER_QUERIES} queries take longer than {rate_s:g} s"
    if note:
        extra = {"bound_ms": plan.bound_ms, "queries_at_each_rate": 0, "note": note}
        return Measurement(SERVER, probe.latency_ms, 0.0, extra)
    return scenarios.server(query, plan.bound_ms, _SERVER_QUERIES, 1 / one_s, budget_s=rate_s)


def run_step(context: Context, case: str) -> None:
    """One step of a sliding window (push and logits) against the whole clip, in turns.

    Raises
    ------
    EngineUnavailable, PrecisionUnavailable
        If this machine has not got the engine.
    """
    _, model, engine = case.split("/")
    plan, spec = context.plan, registry.find(model).spec
    choice = engines.choose(engine, _PRECISION)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        parts = []
        for part in _PARTS:
            path = Path(folder) / f"{part}.onnx"
            export.export_onnx(model, path, weights="random", form=engines.best_form(choice, spec), part=part)
            parts.append(engines.load_engine(path, engine, _PRECISION, threads=plan.threads))
            opened.callback(parts[-1].close)
        calls, difference = _step_calls(*parts)
        times = timing.interleaved(calls, _STEP_SAMPLES, 1.5 if plan.quick else 5.0, warm_up_s=0.3)
    found = {name: timing.summary(values) for name, values in times.items()}
    whole, step, head = (record(spec, "3d", part)[0].macs for part in _PARTS)
    row = Row(case, config={"model": model, "engine": engine, "precision": _PRECISION, "weights": "random"})
    row.config |= {"batch": 1, "threads": plan.threads, "frames_per_step": Streaming.of(spec).frames_per_step}
    row.gate = {"passed": True, "difference": difference, "tolerance": 1e-4}
    row.latency_ms, row.reference = found["step"], "the whole clip"
    row.ratio_p50 = float(found["step"]["p50"]) / float(found["whole clip"]["p50"])
    row.stages_ms = {name: float(values["p50"]) for name, values in found.items()}
    row.cost = {"macs": step + head, "whole_macs": whole, "macs_ratio": (step + head) / whole}
    context.emit(row)


def _step_calls(whole: Any, features: Any, head: Any) -> tuple[dict[str, timing.Call], float]:
    """The whole clip and one step, checked against each other first."""
    state, rng, spec = StreamingState(features, head), np.random.default_rng(0), whole.spec

    def inputs(frames: int) -> dict[str, Any]:
        feed = {"clip": rng.standard_normal((3, frames, spec.size, spec.size), np.float32)}
        points = rng.normal(spec.size / 2, spec.size / 6, (frames, spec.landmarks, 2)).astype(np.float32)
        return feed | ({"landmarks": points} if spec.landmarks else {})

    clip, step = inputs(spec.frames), inputs(state.streaming.frames_per_step)
    used = state.streaming.steps * state.streaming.frames_per_step
    state.push(**{name: value[:, :used] if name == "clip" else value[:used] for name, value in clip.items()})
    feed = {name: value[None] for name, value in clip.items()}
    difference = float(np.abs(state.logits() - whole.infer(feed)["logits"][0]).max())
    if difference > 1e-4:
        raise ArithmeticError(f"a window's logits differ by {difference:.2g} from the whole clip's, allowed 1e-4")

    def one_step() -> None:
        state.push(**step)
        state.logits()

    return {"whole clip": lambda: whole.infer(feed), "step": one_step}, difference
