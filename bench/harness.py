"""What every bench shares: pinned threads, interleaved timing, provenance."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import dfer_edge
from dfer_edge import cpu

_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch")


def pin(threads: int = 2) -> None:
    """Keep this process and all its threads on the first ``threads`` cores. Call before importing an engine."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    os.environ["OMP_NUM_THREADS"] = str(threads)


def interleaved(
    cases: Mapping[str, Callable[[], Any]], rounds: int = 30, warm_up_s: float = 1.0
) -> dict[str, dict[str, float]]:
    """Milliseconds of each case, taken in turns so that a noisy neighbour hits all alike.

    Every case is warmed up for ``warm_up_s`` first. Medians are for ratios, minima say what the machine can do.
    """
    for case in cases.values():
        end = time.perf_counter() + warm_up_s
        while time.perf_counter() < end:
            case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: _summary(values) for name, values in times.items()}


def _summary(values: list[float]) -> dict[str, float]:
    p50, p90 = np.percentile(values, [50, 90])
    return {"min_ms": min(values), "p50_ms": float(p50), "p90_ms": float(p90), "samples": len(values)}


def provenance(**extra: Any) -> dict[str, Any]:
    """Device, versions, threads, date and commit: without them a number is not published."""
    return {
        "processor": cpu.name(),
        "features": [name for name, there in cpu.features().items() if there],
        "threads": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "dfer_edge": dfer_edge.__version__,
        **{package: _version(package) for package in _PACKAGES},
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        **extra,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    root = Path(__file__).parents[1]
    run = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(run, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
