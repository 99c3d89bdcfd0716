"""What this processor can do, read from the operating system."""

from __future__ import annotations

import functools
import math
import os
import platform
from pathlib import Path

# Name that a person knows -> flag in /proc/cpuinfo (x86-64, then aarch64).
FEATURES = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-512 VNNI": "avx512_vnni",
    "AVX-512 BF16": "avx512_bf16",
    "AVX VNNI": "avx_vnni",
    "AMX BF16": "amx_bf16",
    "AMX INT8": "amx_int8",
    "NEON": "asimd",
    "Arm BF16": "bf16",
    "Arm INT8 matrix": "i8mm",
}


@functools.lru_cache(maxsize=1)
def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.partition(":")[::2] for line in lines if ":" in line)
    return {key.strip().lower(): value.strip() for key, value in pairs}


def flags() -> frozenset[str]:
    """Instruction-set flags as the kernel names them; empty where it does not say."""
    info = _cpuinfo()
    return frozenset((info.get("flags") or info.get("features") or "").split())


def features() -> dict[str, bool]:
    """Vector features that decide which precision is fast, by their common names."""
    present = flags()
    return {name: flag in present for name, flag in FEATURES.items()}


def has_bf16() -> bool:
    """Whether bf16 products run in hardware; emulated bf16 is slower than fp32."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags())


def has_int8() -> bool:
    """Whether 8-bit dot products with 32-bit sums run in hardware; older instructions saturate in between."""
    return bool({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"} & flags())


def name() -> str:
    """Processor name."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may run on, and whose time its container may use; at least one."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return present if math.isinf(allowed) else max(1, min(present, math.ceil(allowed)))


def quota(membership: Path, root: Path) -> float:
    """Processors' worth of time that control groups allow, version 1 or 2; infinite without a limit.

    Parameters
    ----------
    membership
        ``/proc/self/cgroup``: which groups the process is in.
    root
        Where the groups are mounted. In a container its own group is often the root.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return math.inf
    least = math.inf
    for parts in (line for line in lines if len(line) == 3):
        controllers, group = parts[1].split(","), Path(parts[2].strip().lstrip("/"))
        if parts[1] and "cpu" not in controllers:
            continue
        base = root / parts[1] if parts[1] else root
        base = base if base.is_dir() else root / "cpu"
        # A limit of any group above holds too.
        for folder in (base, *(base / parent for parent in (group, *group.parents))):
            least = min(least, _limit(folder))
    return least


def _limit(folder: Path) -> float:
    names = ("cpu.max",) if (folder / "cpu.max").is_file() else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    try:
        time, period = " ".join((folder / name).read_text() for name in names).split()
        return math.inf if time in ("max", "-1") else int(time) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
