"""Layout of Scenic's ViViT-B/16x2 factorised encoder (Flax), the public checkpoint that SMaTE starts from.

Parameters are named by their path in the Flax tree, joined by ``/``. The public checkpoint has 4 temporal layers; those
from the fifth on have no counterpart there and start fresh.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.folding import Array
from dfer_edge.inference.smate import HEAD_WIDTH, HEADS, TUBELET, WIDTH

DEPTH = 12

_ATTENTION = "MultiHeadDotProductAttention_0"
_LAYER = {
    "norm_attention": "LayerNorm_0",
    "attention.query": f"{_ATTENTION}/query",
    "attention.key": f"{_ATTENTION}/key",
    "attention.value": f"{_ATTENTION}/value",
    "attention.out": f"{_ATTENTION}/out",
    "norm_mlp": "LayerNorm_1",
    "mlp_in": "MlpBlock_0/Dense_0",
    "mlp_out": "MlpBlock_0/Dense_1",
}


def public_keys() -> dict[str, str]:
    """Own key -> path in Scenic's parameters, for every tensor that both have; layouts differ, see from_public."""
    keys = _linear_keys("embedding", "embedding") | _linear_keys("head", "output_projection")
    for own, public in (("spatial", "SpatialTransformer"), ("temporal", "TemporalTransformer")):
        keys[f"{own}_cls"] = f"cls_{public}"
        keys[f"{own}_positions"] = f"{public}/posembed_input/pos_embedding"
        for layer in range(DEPTH):
            for part, path in _LAYER.items():
                keys |= _linear_keys(f"{own}.layers.{layer}.{part}", f"{public}/encoderblock_{layer}/{path}")
        keys |= _linear_keys(f"{own}.norm", f"{public}/encoder_norm")
    return keys


def _linear_keys(own: str, public: str) -> dict[str, str]:
    weight = "scale" if "norm" in public.rsplit("/", 1)[-1].lower() else "kernel"
    return {f"{own}.weight": f"{public}/{weight}", f"{own}.bias": f"{public}/bias"}


@dataclasses.dataclass(frozen=True)
class _Layout:
    """``own = public.transpose(axes).reshape(own)``; -1 where a length varies."""

    public: tuple[int, ...]
    axes: tuple[int, ...]
    own: tuple[int, ...]

    def to_own(self, value: Array) -> Array:
        return value.transpose(self.axes).reshape(self.own)

    def to_public(self, value: Array) -> Array:
        return value.reshape([self.public[axis] for axis in self.axes]).transpose(np.argsort(self.axes))

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.public) and all(a in (-1, b) for a, b in zip(self.public, shape, strict=True))


_IN = _Layout((WIDTH, HEADS, HEAD_WIDTH), (1, 2, 0), (WIDTH, WIDTH))
_IN_BIAS = _Layout((HEADS, HEAD_WIDTH), (0, 1), (WIDTH,))
_CLS = _Layout((1, 1, WIDTH), (0, 1, 2), (WIDTH,))

# By the last part of the path, or the last two. What is not here is a vector or a [in, out] kernel.
_LAYOUTS = {
    "embedding/kernel": _Layout((*TUBELET, 3, WIDTH), (4, 3, 0, 1, 2), (WIDTH, 3, *TUBELET)),
    **{f"{part}/kernel": _IN for part in ("query", "key", "value")},
    **{f"{part}/bias": _IN_BIAS for part in ("query", "key", "value")},
    "out/kernel": _Layout((HEADS, HEAD_WIDTH, WIDTH), (2, 0, 1), (WIDTH, WIDTH)),
    "posembed_input/pos_embedding": _Layout((1, -1, WIDTH), (0, 1, 2), (-1, WIDTH)),
    "cls_SpatialTransformer": _CLS,
    "cls_TemporalTransformer": _CLS,
}


def _layout(path: str) -> _Layout | None:
    return _LAYOUTS.get("/".join(path.split("/")[-2:]))


def from_public(params: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Scenic's parameters by path, in our layouts: linear [out, in], convolution [O, I, kt, kh, kw].

    Raises
    ------
    InvalidInput
        If a tensor has another shape than ViViT-B's.
    """
    return {
        path: torch.from_numpy(np.ascontiguousarray(_to_own(path, np.asarray(value)))) for path, value in params.items()
    }


def _to_own(path: str, value: Array) -> Array:
    layout = _layout(path)
    if layout is None:
        return value.T
    if not layout.fits(value.shape):
        raise InvalidInput(f"expected {path!r} of shape {layout.public} as in ViViT-B/16x2; got {value.shape}")
    return layout.to_own(value)


def to_public(state: Mapping[str, Array]) -> dict[str, Array]:
    """Our state in Scenic's layout, by path; tensors that Scenic does not have are left out."""
    converted = {}
    for own, path in public_keys().items():
        if own in state:
            layout = _layout(path)
            converted[path] = state[own].T if layout is None else layout.to_public(state[own])
    return converted
