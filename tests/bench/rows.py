"""Results files without a stopwatch: rows as the suite writes them, with made-up times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfer_edge.bench.report.results import Row, Writer

PROVENANCE = {
    "device": "test-device",
    "pinned_to": [0, 1],
    "cores": 4,
    "date": "2026-01-01",
    "features": ["AVX2"],
    "state": {},
    "energy_sensors": [],
    "load_before": [0.0],
    "commit": "abc1234",
    "command": "dfer-edge bench",
}
PEAKS = {
    "threads": 2,
    "flops": {"fp32": 2e11, "bf16": 8e11},
    "bytes_per_s": 3e10,
    "sources": {"fp32": "onnxruntime fp32 1024", "bf16": "openvino bf16 1024", "bytes_per_s": "numpy"},
    "witness": {"values": {"fp32": 1.9e11}, "tools": {}, "ratio": {"fp32": 1.05, "bytes_per_s": 1.5}},
}


def system(
    engine: str, precision: str, ms: float, ratio: float, network: str = "slowr50_sa", war: float | None = None
) -> Row:
    group = "network" if engine.startswith("torch-") else "engine"
    case = f"{group}/{network}/{engine}" + ("" if group == "network" else f"/{precision}/b1")
    row = Row(case, reference=f"network/{network}/torch-eager", ratio_p50=ratio, samples_per_s=1e3 / ms)
    row.config = {"network": network, "model": network, "engine": engine, "precision": precision, "batch": 1}
    row.latency_ms = {"min": 0.9 * ms, "mean": ms, "p50": ms, "p90": 1.2 * ms, "samples": 30}
    row.gate = {"passed": True, "difference": 1e-6, "tolerance": 1e-3}
    row.cost = {"macs": 35_000_000_000, "bytes": 170e6 if precision != "fp32" else 340e6, "weights": 32_000_000}
    row.accuracy = {"war": war, "samples": 46, "data": "validation"} if war else {}
    row.command = f"dfer-edge bench --only {case}"
    return row


def video(ms: float) -> Row:
    row = Row("video/slowr50_sa:default/auto", config={"engine": "openvino", "precision": "bf16", "video": "a.mp4"})
    row.latency_ms = {"min": ms, "p50": ms, "p90": ms, "samples": 30}
    row.stages_ms = {"decode": 0.1 * ms, "detect": 0.5 * ms, "engine": 0.2 * ms, "preprocess": 0.1 * ms, "total": ms}
    row.samples_per_s, row.extra = 5e4 / ms, {"frames": 50}
    row.command = f"dfer-edge bench --only {row.id}"
    return row


def write(path: Path, rows: list[Row], peaks: bool = True, cases: Sequence[str] = ()) -> Path:
    """``cases`` are those that the run was to measure."""
    with Writer(path, PROVENANCE, {"cases": list(cases)} if cases else {}) as writer:
        if peaks:
            writer.peaks(PEAKS)
        for row in rows:
            writer.row(row)
    return path


def some(factor: float = 1.0) -> list[Row]:
    """A network on three systems; ``factor`` slows the engines, not the reference."""
    return [
        system("torch-eager", "fp32", 100, 1.0, war=0.78),
        system("onnxruntime", "fp32", 50 * factor, 0.5 * factor, war=0.78),
        system("openvino", "bf16", 25 * factor, 0.25 * factor, war=0.76),
        video(400),
    ]
