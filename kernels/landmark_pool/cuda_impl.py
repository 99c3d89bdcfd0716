"""`landmark_pool` by csrc/landmark_pool/landmark_pool_cuda.cu. Built, not yet run on hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels.arrays import DTYPE_NUMBERS, Array, device_index, dtype_name, pointer, stream

# As landmark_pool_cuda.h has them.
LARGEST = (160, 96)


def declines(features: Array, *_: Any) -> str:
    """Takes float32, float16 and bfloat16, maps up to 160 x 96 cells."""
    name, sides = dtype_name(features), tuple(features.shape[2:])
    if name not in DTYPE_NUMBERS:
        return f"takes {', '.join(DTYPE_NUMBERS)}, got {name}"
    if any(side > most for side, most in zip(sides, LARGEST, strict=True)):
        return f"takes maps up to {LARGEST[0]} x {LARGEST[1]} cells, got {sides[0]} x {sides[1]}"
    return ""


def run(
    features: Array, points: Array, sigma: float, gates: Sequence[Array] | None, norm_heat: bool, out: Array
) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cuda

    _cuda.landmark_pool(
        pointer(features),
        pointer(points),
        (0, 0, 0) if gates is None else tuple(map(pointer, gates)),
        (*features.shape, points.shape[1]),
        sigma,
        norm_heat,
        DTYPE_NUMBERS[dtype_name(features)],
        pointer(out),
        device_index(features),
        stream(features),
    )
