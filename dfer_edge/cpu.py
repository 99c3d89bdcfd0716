"""What this processor can do, read from the operating system."""

from __future__ import annotations

import functools
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
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
