"""The definition of landmark pooling, for numpy arrays and torch tensors alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfer_edge.kernels.arrays import Array, is_tensor, library, widened


def declines(*_: Any) -> str:
    """Takes everything."""
    return ""


def run(
    features: Array, points: Array, sigma: float, gates: Sequence[Array] | None, norm_heat: bool, out: Array
) -> None:
    """Fill ``out`` [N, J + 1, C]."""
    out[...] = pool(features, points, sigma, gates, norm_heat)


def pool(features: Array, points: Array, sigma: float, gates: Sequence[Array] | None, norm_heat: bool) -> Array:
    """[N, J + 1, C] in float32 or wider; differentiable with torch."""
    xp = library(features)
    gated = gate(widened(features), gates)
    height, width = features.shape[2:]
    maps = heat_maps(points, height, width, sigma)  # [N, J, H, W]
    # A / sum(A) as exp(log A - log A at the nearest cell) / its sum, which stays finite far outside.
    scale = xp.ones_like(maps[..., :1, :1]) * height * width
    if norm_heat:
        maps = heat_maps(points, height, width, sigma, nearest_is_one=True)
        scale = maps.sum((-2, -1))[..., None, None]
    maps = _cast(maps / scale, gated)
    local = xp.einsum("nchw,njhw->njc", gated, maps)
    whole = gated.mean((-2, -1))[:, None]
    return xp.concatenate([local, whole], 1)


def gate(features: Array, gates: Sequence[Array] | None) -> Array:
    """F = features * (g1 + g2 + g3) / 3 [N, C, H, W]."""
    if gates is None:
        return features
    over_channels, over_height, over_width = map(widened, gates)
    total = over_channels[:, None] + over_height[:, :, None] + over_width[..., None]
    return features * total / 3


def heat_maps(points: Array, height: int, width: int, sigma: float, nearest_is_one: bool = False) -> Array:
    """A float64 [N, J, H, W]: in float32 the square of a far coordinate would overflow."""
    points = points.double() if is_tensor(points) else np.asarray(points, np.float64)
    with np.errstate(over="ignore"):  # exp(-inf) is the 0 that is meant
        across = _exponents(points[..., 0], width, sigma, nearest_is_one)  # [N, J, W]
        down = _exponents(points[..., 1], height, sigma, nearest_is_one)  # [N, J, H]
        return library(points).exp(-(down[..., None] + across[..., None, :]))


def _exponents(centres: Array, count: int, sigma: float, nearest_is_one: bool) -> Array:
    """(cell - centre)^2 / (2 sigma^2), or its excess over that of the nearest cell."""
    cells, centres = _cells(count, centres), centres[..., None]
    if nearest_is_one:
        nearest = centres.round().clip(0, count - 1)
        # The difference of the two squares, as a product: far outside they are equal to rounding.
        return ((cells - nearest) / sigma) * ((cells + nearest - 2 * centres) / sigma) / 2
    return ((cells - centres) / sigma) ** 2 / 2


def _cast(array: Array, like: Array) -> Array:
    return array.to(like.dtype) if is_tensor(array) else array.astype(like.dtype)


def _cells(count: int, like: Array) -> Array:
    cells = np.arange(count, dtype=np.float64)
    return sys.modules["torch"].from_numpy(cells).to(like.device) if is_tensor(like) else cells
