"""`attention_gate` by csrc/attention_gate/attention_gate_cuda.cu. Built, not yet run on hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels.arrays import (
    DTYPE_NUMBERS,
    Array,
    device_index,
    dtype_name,
    empty,
    pointer,
    scratch_of,
    stream,
)
from dfer_edge.kernels.attention_gate.rules import KINDS, SHAPES
from dfer_edge.kernels.device_array import DeviceArray

# As attention_gate_cuda.cu has them.
MOST_IMAGES, MOST_UNITS = 65535, 3072


def declines(x: Array, kind: str, weights: Sequence[Array], *_: Any) -> str:
    """Takes float32, float16 and bfloat16, up to 65535 images, 3072 channels and hidden units."""
    if dtype_name(x) not in DTYPE_NUMBERS:
        return f"takes {', '.join(DTYPE_NUMBERS)}, got {dtype_name(x)}"
    if x.shape[0] > MOST_IMAGES:
        return f"takes up to {MOST_IMAGES} images, got {x.shape[0]}"
    most = max(x.shape[1], *_hidden(kind, weights)[:2])
    return f"takes up to {MOST_UNITS} channels and hidden units, got {most}" if most > MOST_UNITS else ""


def scratch_size(shape: Sequence[int], kind: str, weights: Sequence[Array]) -> int:
    """Floats of memory for x of ``shape``."""
    from dfer_edge import _cuda

    return int(_cuda.attention_gate_scratch((*shape, *_hidden(kind, weights))))


def run(x: Array, kind: str, weights: Sequence[Array], pool: bool, out: Array, scratch: Array | None = None) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cuda

    shape, size = (*x.shape, *_hidden(kind, weights)), scratch_size(x.shape, kind, weights)
    memory = scratch_of(scratch, size, x) if isinstance(x, DeviceArray) else empty((size,), "float32", x)
    _cuda.attention_gate(
        pointer(x),
        KINDS.index(kind),
        list(map(pointer, weights)),
        shape,
        pool,
        DTYPE_NUMBERS[dtype_name(x)],
        pointer(memory),
        pointer(out),
        device_index(x),
        stream(x),
    )


def _hidden(kind: str, weights: Sequence[Array]) -> tuple[int, int, int]:
    """Hidden units of the MLPs and hidden planes; 0 of what a kind lacks."""
    sizes: dict[int | str, int] = {}
    for shape, weight in zip(SHAPES[kind].values(), weights, strict=True):
        sizes |= dict(zip(shape, weight.shape, strict=True))
    return sizes["R"], sizes.get("Q", 0), sizes.get("M", 0)
