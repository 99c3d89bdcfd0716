"""Exact folds shared by the networks, in float64 numpy: no torch needed to run trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput

Array = npt.NDArray[Any]

NORM_EPS = 1e-5


def take(state: Mapping[str, Array], key: str, dtype: npt.DTypeLike | None = np.float64) -> Array:
    """``state[key]`` as float64, or as it is, uncopied, with ``dtype=None``.

    Raises
    ------
    InvalidInput
        If the state has no such key: these are weights of another network.
    """
    if key not in state:
        example = next(iter(state), None)
        raise InvalidInput(f"expected weights with the key {key!r}; got {len(state)} keys such as {example!r}")
    return np.asarray(state[key], dtype)


def fold_norm(state: Mapping[str, Array], conv: str, norm: str, out: str, eps: float = NORM_EPS) -> dict[str, Array]:
    """Batch norm folded into the convolution before it, with or without bias: weight and bias of ``out``."""
    scale = take(state, f"{norm}.weight") / np.sqrt(take(state, f"{norm}.running_var") + eps)
    weight = take(state, f"{conv}.weight")
    bias = take(state, f"{conv}.bias") if f"{conv}.bias" in state else 0.0
    return {
        f"{out}.weight": weight * scale.reshape(-1, *[1] * (weight.ndim - 1)),
        f"{out}.bias": (bias - take(state, f"{norm}.running_mean")) * scale + take(state, f"{norm}.bias"),
    }
