"""`lbp` by the C++ loops of csrc/lbp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels import affine, dispatch
from dfer_edge.kernels.arrays import Array, host_view


def declines(*_: Any) -> str:
    """Takes everything in host memory."""
    return ""


def run(frames: Array, weights: Sequence[int], zero_border: bool, normalisation: Any, out: Array) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cpu

    source, target = host_view(frames), host_view(out)
    if normalisation is None:
        _cpu.lbp_codes(source, weights, zero_border, target, dispatch.threads())
    else:
        _cpu.lbp_planes(source, weights, zero_border, affine.per_channel(*normalisation), target, dispatch.threads())
