"""A second witness of the times: MLCommons' load generator asks the same queries.

Optional: ``pip install mlcommons-loadgen``. It decides when a query is sent and reads its own clock; what is
compared is the median that it reports with ours.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure.scenarios import MULTI_STREAM, SAMPLES_PER_QUERY, SINGLE_STREAM, Query
from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput

# The wheel's own name imports as an alias without content.
_MODULE, _PACKAGE = "mlperf_loadgen", "mlcommons-loadgen"
_MARK = ":::MLLOG "
_WANTED = {
    "result_50.00_percentile_latency_ns": "p50",
    "result_50.00_percentile_per_query_latency_ns": "p50",
    "result_90.00_percentile_latency_ns": "p90",
    "result_90.00_percentile_per_query_latency_ns": "p90",
    "result_99.00_percentile_latency_ns": "p99",
    "result_99.00_percentile_per_query_latency_ns": "p99",
}


def unavailable() -> str:
    """Why there is no second witness; empty if there is."""
    if importlib.util.find_spec(_MODULE) is None:
        return f"{_PACKAGE} is not installed (pip install {_PACKAGE})"
    return ""


def ask(query: Query, scenario: str, queries: int) -> dict[str, Any]:
    """Let the load generator run ``queries`` queries.

    Returns
    -------
    ``tool`` with its version, ``queries``, and the percentiles ``p50``, ``p90``, ``p99`` in ms that it reports.

    Raises
    ------
    EngineUnavailable
        If it is not installed.
    InvalidInput
        For another scenario than SingleStream and MultiStream.
    """
    if reason := unavailable():
        raise EngineUnavailable(reason)
    if scenario not in (SINGLE_STREAM, MULTI_STREAM):
        raise InvalidInput(f"expected scenario {SINGLE_STREAM} or {MULTI_STREAM}, got {scenario!r}")
    library: Any = importlib.import_module(_MODULE)
    settings = library.TestSettings()
    settings.scenario = getattr(library.TestScenario, scenario)
    settings.mode = library.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = queries
    settings.min_duration_ms = 0
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY

    def issue(samples: Any) -> None:
        query(len(samples))
        library.QuerySamplesComplete([library.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

    with tempfile.TemporaryDirectory() as folder:
        _run(library, settings, issue, folder)
        return {"tool": f"{_PACKAGE} {_version()}", "queries": queries, **parse(Path(folder))}


def witness(query: Query, scenario: str, queries: int, p50_ms: float) -> dict[str, Any]:
    """What :func:`ask` finds, and ``ours_to_it``, our median divided by its; else the ``reason`` for no opinion."""
    if reason := unavailable():
        return {"reason": reason}
    try:
        found = ask(query, scenario, queries)
    except CorruptArtifact as error:
        return {"reason": error.message}
    return {**found, "ours_to_it": p50_ms / found["p50"]}


def _run(library: Any, settings: Any, issue: Any, folder: str) -> None:
    output, log = library.LogOutputSettings(), library.LogSettings()
    output.outdir, output.copy_summary_to_stdout = folder, False
    log.log_output, log.enable_trace = output, False
    system = library.ConstructSUT(issue, lambda: None)
    samples = library.ConstructQSL(SAMPLES_PER_QUERY, SAMPLES_PER_QUERY, lambda _: None, lambda _: None)
    try:
        library.StartTestWithLogSettings(system, samples, settings, log)
    finally:
        library.DestroyQSL(samples)
        library.DestroySUT(system)


def parse(folder: Path) -> dict[str, float]:
    """Percentiles in ms out of the load generator's detail log.

    Raises
    ------
    CorruptArtifact
        If the log has none.
    """
    path = folder / "mlperf_log_detail.txt"
    found: dict[str, float] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        if line.startswith(_MARK):
            entry = json.loads(line[len(_MARK) :])
            if entry["key"] in _WANTED:
                found[_WANTED[entry["key"]]] = float(entry["value"]) / 1e6
    if "p50" not in found:
        raise CorruptArtifact(f"expected latencies in the load generator's log, found none in {path}")
    return found


def _version() -> str:
    try:
        return metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        return "of unknown version"
