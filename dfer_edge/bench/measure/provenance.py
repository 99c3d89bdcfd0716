"""Where a number was taken: without it a number is not published."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import sensors
from dfer_edge.system import board, cpu, provenance

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
        **provenance.versions(),
        **{name: found for name in _MORE_PACKAGES if (found := provenance.version(name))},
        "features": [name for name, there in cpu.features().items() if there],
        "kernel": platform.release(),
        "cores": os.cpu_count() or 1,
        "pinned_to": list(cores),
        "memory_gb": round(_memory_bytes() / 1e9, 1),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "state": sensors.state(),
        "gpu": gpu_name(),
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
