"""The definition of the one-token head, for numpy arrays and torch tensors alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels.arrays import Array, library, widened


def declines(*_: Any) -> str:
    """Takes everything."""
    return ""


def run(x: Array, weights: Sequence[Array], softmax: bool, out: Array) -> None:
    """Fill ``out`` [B, K]."""
    out[...] = head(x, weights, softmax)


def head(x: Array, weights: Sequence[Array], softmax: bool) -> Array:
    """[B, K] in float32 or wider; differentiable with torch. Eight weights as printed, four folded."""
    x, *wide = map(widened, (x, *weights))
    *attention, fc_weight, fc_bias, classifier_weight, classifier_bias = wide
    if attention:
        value_weight, value_bias, out_weight, out_bias = attention
        value = x @ value_weight.T + value_bias  # every head's own slice: the softmax over one token is 1
        x = x + (value @ out_weight.T + out_bias)
    hidden = library(x).clip(x @ fc_weight.T + fc_bias, 0, None)
    scores = hidden @ classifier_weight.T + classifier_bias
    return _softmax(scores) if softmax else scores


def _softmax(scores: Array) -> Array:
    xp = library(scores)
    powers = xp.exp(scores - xp.amax(scores, axis=-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
