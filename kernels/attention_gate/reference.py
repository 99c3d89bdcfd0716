"""The definition of the gates and their pooling, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfer_edge.kernels.arrays import Array, is_tensor, library, widened


def declines(*_: Any) -> str:
    """Takes everything."""
    return ""


def run(x: Array, kind: str, weights: Sequence[Array], pool: bool, out: Array) -> None:
    """Fill ``out``."""
    gated = GATES[kind](widened(x), *map(widened, weights))
    out[...] = max_pool(gated) if pool else gated


def se(x: Array, *mlp: Array) -> Array:
    """x sig(F2 relu F1 mean(x))."""
    return x * _sigmoid(channel_mlp(x.mean((2, 3)), *mlp))[:, :, None, None]


def ag(x: Array, *weights: Array) -> Array:
    """x sig(a s)."""
    *mlp, weight1, bias1, weight2, bias2 = weights
    a = _sigmoid(channel_mlp(x.mean((2, 3)), *mlp))[:, :, None, None]
    hidden = _relu(convolve(x.mean(1)[:, None], weight1, bias1))
    return x * _sigmoid(a * _sigmoid(convolve(hidden, weight2, bias2)))


def cbam(x: Array, *weights: Array) -> Array:
    """y sig(conv [max, mean of y over channels]) of y = x sig(mlp(mean) + mlp'(max))."""
    xp = library(x)
    average, maximum, (weight, bias) = weights[:4], weights[4:8], weights[8:]
    scores = channel_mlp(x.mean((2, 3)), *average) + channel_mlp(xp.amax(x, axis=(2, 3)), *maximum)
    y = x * _sigmoid(scores)[:, :, None, None]
    planes = xp.stack([xp.amax(y, axis=1), y.mean(1)], 1)  # [N, 2, H, W]
    return y * _sigmoid(convolve(planes, weight, bias))


GATES = {"agfer": ag, "se": se, "cbam": cbam}


def channel_mlp(pooled: Array, weight1: Array, bias1: Array, weight2: Array, bias2: Array) -> Array:
    """F2 relu F1: [N, C] -> [N, C]."""
    return _relu(pooled @ weight1.T + bias1) @ weight2.T + bias2


def convolve(planes: Array, weight: Array, bias: Array) -> Array:
    """[N, I, H, W] -> [N, O, H, W]: odd kernel, stride 1, zero padding; one tap at a time."""
    xp = library(planes)
    height, width = planes.shape[2:]
    reach = weight.shape[-1] // 2
    padded = _pad(planes, reach)
    total = bias[:, None, None]
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            window = padded[:, :, dy : dy + height, dx : dx + width]
            total = total + xp.einsum("oi,nihw->nohw", weight[:, :, dy, dx], window)
    return total


def max_pool(x: Array) -> Array:
    """2 x 2, stride 2; NaN wins."""
    height, width = (side // 2 * 2 for side in x.shape[2:])
    larger = library(x).maximum
    return larger(
        larger(x[:, :, 0:height:2, 0:width:2], x[:, :, 0:height:2, 1:width:2]),
        larger(x[:, :, 1:height:2, 0:width:2], x[:, :, 1:height:2, 1:width:2]),
    )


def _pad(planes: Array, reach: int) -> Array:
    count, channels, height, width = planes.shape
    shape = (count, channels, height + 2 * reach, width + 2 * reach)
    padded = planes.new_zeros(shape) if is_tensor(planes) else np.zeros(shape, planes.dtype)
    padded[:, :, reach : reach + height, reach : reach + width] = planes
    return padded


def _relu(x: Array) -> Array:
    return library(x).clip(x, 0, None)


def _sigmoid(x: Array) -> Array:
    xp = library(x)
    # exp of a large score overflows to inf, and 1 / inf is the 0 that is meant.
    with np.errstate(over="ignore"):
        return 1 / (1 + xp.exp(-x))
