"""`clip_to_tensor` by the C++ loops of csrc/clip_to_tensor."""

from __future__ import annotations

from typing import Any

from dfer_edge.kernels import affine, dispatch
from dfer_edge.kernels.arrays import DTYPE_NUMBERS, Array, dtype_name, host_view


def declines(*_: Any) -> str:
    """Takes everything in host memory."""
    return ""


def run(frames: Array, boxes: Array, normalisation: Any, nv12: bool, out: Array) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cpu

    source, table, target = host_view(frames), host_view(boxes), host_view(out)
    if normalisation is None:
        _cpu.crop_pixels(source, table, nv12, target, dispatch.threads())
    else:
        number, maps = DTYPE_NUMBERS[dtype_name(out)], affine.per_channel(*normalisation)
        _cpu.crop_planes(source, table, nv12, maps, number, target, dispatch.threads())
