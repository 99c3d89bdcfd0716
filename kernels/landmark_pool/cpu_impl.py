"""`landmark_pool` by the C++ loops of csrc/landmark_pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels import dispatch
from dfer_edge.kernels.arrays import Array, dtype_name, host_view


def declines(features: Array, *_: Any) -> str:
    """Takes float32 in host memory."""
    name = dtype_name(features)
    return "" if name == "float32" else f"takes float32, got {name}"


def run(
    features: Array, points: Array, sigma: float, gates: Sequence[Array] | None, norm_heat: bool, out: Array
) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cpu

    views = None if gates is None else tuple(map(host_view, gates))
    _cpu.landmark_pool(
        host_view(features), host_view(points), sigma, views, norm_heat, host_view(out), dispatch.threads()
    )
