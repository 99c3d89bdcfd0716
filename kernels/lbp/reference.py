"""The definition of the local binary pattern, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfer_edge.kernels.arrays import Array, as_tensor, is_tensor

# Down and across, clockwise from the top left.
OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
# BT.601 luma of R, G, B in 1 / 32768.
LUMA = (9798, 19235, 3735)


def declines(frames: Array, *_: Any) -> str:
    """Takes everything."""
    return ""


def run(frames: Array, weights: Sequence[int], zero_border: bool, normalisation: Any, out: Array) -> None:
    """Fill ``out`` with codes [T, H, W], or with the normalised clip [3, T, H, W] where ``normalisation`` is given."""
    grey = luma(frames) if frames.ndim == 4 else frames
    codes = sum(
        (neighbour(grey, down, across, zero_border) >= grey) * weight
        for (down, across), weight in zip(OFFSETS, weights, strict=True)
    )
    if normalisation is None:
        out[...] = codes
    else:
        for channel, (mean, std) in enumerate(zip(*normalisation, strict=True)):
            out[channel] = _as_float64(codes) / (255 * std) - mean / std


def luma(frames: Array) -> Array:
    """Grey [T, H, W] of RGB [T, H, W, 3], rounded to nearest, halves up; int32."""
    wide = frames.int() if is_tensor(frames) else frames.astype(np.int32)
    red, green, blue = (wide[..., channel] * weight for channel, weight in enumerate(LUMA))
    return (red + green + blue + 16384) >> 15


def neighbour(grey: Array, down: int, across: int, zero_border: bool) -> Array:
    """The neighbour of every pixel; outside the frame its nearest edge, or 0."""
    rows, columns = np.arange(grey.shape[1]) + down, np.arange(grey.shape[2]) + across
    inside = np.outer(rows == rows.clip(0, grey.shape[1] - 1), columns == columns.clip(0, grey.shape[2] - 1))
    rows, columns = rows.clip(0, grey.shape[1] - 1), columns.clip(0, grey.shape[2] - 1)
    if is_tensor(grey):
        rows, columns, inside = (as_tensor(index).to(grey.device) for index in (rows, columns, inside))
    shifted = grey[:, rows][:, :, columns]
    return shifted * inside if zero_border else shifted


def _as_float64(codes: Array) -> Array:
    return codes.double() if is_tensor(codes) else np.asarray(codes, np.float64)
