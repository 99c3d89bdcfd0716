"""Where fused kernels have a place in the networks, and the kernels on numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.inference.keypoint_pooling import node_cells_of
from dfer_edge.inference.parts import Part
from dfer_edge.inference.slowr50 import scores_frames
from dfer_edge.kernels.attention_gate import attention_gate
from dfer_edge.kernels.attention_gate.rules import SHAPES
from dfer_edge.kernels.landmark_pool import landmark_pool
from dfer_edge.kernels.token_attention import Folded, token_attention
from dfer_edge.spec import ModelSpec

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]

PLACES: dict[str, tuple[str, tuple[Part, ...]]] = {
    "slowr50_sa": ("token_attention", ("whole", "head")),
    "agfer": ("attention_gate", ("whole",)),
    "sefer": ("attention_gate", ("whole",)),
    "cbamfer": ("attention_gate", ("whole",)),
    "keypoint_tsa": ("landmark_pool", ("whole", "features")),
}
"""Networks that have a place for a kernel, and the parts that it is in."""

FOLDED = ("attention.weight", "attention.bias", "classifier.weight", "classifier.bias")
"""Weights of token_attention."""


def place_of(spec: ModelSpec, part: Part) -> str:
    """The kernel that a part of a network has a place for; empty if none."""
    kernel, parts = PLACES.get(spec.name, ("", ()))
    # Options of other arithmetic: frames attend to frames, a gate that is added.
    without = spec.options.get("gate") == "ag_residual" or spec.options.get("attention_tokens") == "frames"
    if kernel == "token_attention" and scores_frames(spec):
        parts = ("whole", "features")
    return "" if without or part not in parts else kernel


def weight_names(kernel: str, prefix: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the weights that a kernel reads at a place (:class:`dfer_edge.inference.symbolic.Place`)."""
    if kernel == "attention_gate":
        return tuple(f"{prefix}.{name}" for name in SHAPES[options["kind"]])
    return FOLDED if kernel == "token_attention" else ()


def _token_attention(weights: Weights, x: Array) -> Array:
    rows = token_attention(np.ascontiguousarray(x.reshape(-1, x.shape[-1])), Folded(*weights.values()))
    return np.asarray(rows).reshape(*x.shape[:-1], -1)


def _attention_gate(weights: Weights, x: Array, kind: str) -> Array:
    return np.asarray(attention_gate(x, kind, dict(zip(SHAPES[kind], weights.values(), strict=True))))


def _landmark_pool(
    _: Weights, x: Array, landmarks: Array, *gates: Array, size: int, sigma: float, norm_heat: bool
) -> Array:
    cells = node_cells_of(landmarks.astype(np.float64), size, x.shape[-1]).astype(np.float32)
    return np.asarray(landmark_pool(x, cells, sigma, [gate.squeeze(1) for gate in gates], norm_heat))


NUMPY_KERNELS: dict[str, Callable[..., Array]] = {
    "token_attention": _token_attention,
    "attention_gate": _attention_gate,
    "landmark_pool": _landmark_pool,
}
"""By name: (weights in the order of their names, inputs..., options of the place) -> output, float32."""
