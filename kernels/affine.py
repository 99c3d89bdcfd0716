"""Normalisation of bytes as the native kernels take it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dfer_edge.errors import InvalidInput

Moments = tuple[list[float], list[float]]
Affine = tuple[float, float, float, float]


def moments(mean: Sequence[float], std: Sequence[float]) -> Moments:
    """Means and standard deviations of the three channels as lists of floats, checked.

    Raises
    ------
    InvalidInput
        If they are not three finite means and three finite, positive standard deviations.
    """
    means, stds = list(map(float, mean)), list(map(float, std))
    if not (len(means) == len(stds) == 3 and all(map(math.isfinite, means + stds)) and all(s > 0 for s in stds)):
        raise InvalidInput(
            f"expected three finite means and three finite, positive standard deviations, got {means} and {stds}"
        )
    return means, stds


def two_part(mean: float, std: float) -> Affine:
    """``(byte / 255 - mean) / std`` as ``(byte * scale_hi - bias_hi) + (byte * scale_lo - bias_lo)`` in float32.

    ``scale_hi`` keeps 16 significant bits, so that its product with a byte is exact in float32 and the result is
    right to two units in the last place even near the mean, where one multiply-add cancels. Same on every backend.
    """
    scale, bias = 1 / (255 * std), mean / std
    step = 2.0 ** (math.frexp(scale)[1] - 16)
    scale_hi = math.floor(scale / step) * step
    bias_hi = float(np.float32(bias))
    return scale_hi, bias_hi, float(np.float32(scale - scale_hi)), float(np.float32(bias - bias_hi))


def per_channel(mean: Sequence[float], std: Sequence[float]) -> tuple[Affine, Affine, Affine]:
    """:func:`two_part` of the three channels."""
    red, green, blue = (two_part(m, s) for m, s in zip(mean, std, strict=True))
    return red, green, blue


def flat(mean: Sequence[float], std: Sequence[float]) -> tuple[float, ...]:
    """:func:`per_channel` as twelve numbers."""
    return tuple(value for channel in per_channel(mean, std) for value in channel)
