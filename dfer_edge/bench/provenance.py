"""Where a number was taken: without it a number is not published."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfer_edge import board, cpu
from dfer_edge.bench import sensors
from dfer_edge.evaluation.provenance import provenance as versions

_MORE_PACKAGES = ("scikit-image", "nncf", "mlcommons-loadgen", "onnxruntime-gpu")
# Widest first: part of a device's name, since it decides which engine and precision are fast.
_WIDTHS = ("AMX BF16", "AVX-512 BF16", "AVX-512", "AVX2", "Arm BF16", "NEON")


def collect(cores: Sequence[int], command: str) -> dict[str, Any]:
    """Device, system, versions, threads, date, commit and the command, JSON-safe.

    Parameters
    ----------
    cores
        That the run is pinned to.
    command
        That ran.
    """
    return {
        "device": device_name(),
        "board": board.name(),
        "l4t": board.l4t(),
        **versions(),
        **{name: version for name in _MORE_PACKAGES if (version := _version(name))},
        "features": [name for name, there in cpu.features().items() if there],
        "kernel": platform.release(),
        "cores": os.cpu_count() or 1,
        "pinned_to": list(cores),
        "memory_gb": round(_memory_bytes() / 1e9, 1),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "state": sensors.state(),
        "gpu": gpu_name(),
        "commit": _commit(),
        "command": command,
    }


def device_name() -> str:
    """Folder of a device's results: the board's name, else the GPU's or the processor's with its vector width."""
    if name := board.name():
        return slug(name)
    if name := gpu_name():
        return slug(name)
    present = cpu.features()
    width = next((name for name in _WIDTHS if present[name]), "")
    return slug(f"{cpu.name()} {width}")


def slug(text: str) -> str:
    """Lower-case words joined by hyphens: ``AMD EPYC AVX-512 BF16`` is ``amd-epyc-avx512-bf16``."""
    plain = text.lower().replace("avx-512", "avx512").replace("(r)", "").replace("(tm)", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def gpu_name() -> str:
    """The first CUDA device as NVML calls it; empty if there is none."""
    return card.card if (card := sensors.nvml()) is not None else ""


def available_bytes() -> int:
    """Memory that can be used without swapping."""
    found = re.search(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 if found else _memory_bytes()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """Of the checkout that the package lies in; empty for an installed one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        head, status = (_git(root, *words) for words in (("rev-parse", "--short", "HEAD"), ("status", "-s", "-uno")))
    except (OSError, subprocess.CalledProcessError):
        return ""
    # What the run itself writes does not make the code another.
    changed = [line for line in status.splitlines() if "bench/results/" not in line]
    return head.strip() + ("+changes" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
