"""`lbp` by csrc/lbp/lbp_cuda.cu. Built, not yet run on hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels import affine
from dfer_edge.kernels.arrays import Array, device_index, pointer, stream


def declines(*_: Any) -> str:
    """Takes everything in device memory."""
    return ""


def run(frames: Array, weights: Sequence[int], zero_border: bool, normalisation: Any, out: Array) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cuda

    shape = (*frames.shape[:3], 3 if frames.ndim == 4 else 1)
    where = (pointer(out), device_index(frames), stream(frames))
    if normalisation is None:
        _cuda.lbp_codes(pointer(frames), shape, weights, zero_border, *where)
    else:
        maps = affine.per_channel(*normalisation)
        _cuda.lbp_clip(pointer(frames), shape, weights, zero_border, maps, *where)
