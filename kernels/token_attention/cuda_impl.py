"""The folded `token_attention` by csrc/token_attention/token_attention_cuda.cu. Built, not yet run on hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels.arrays import DTYPE_NUMBERS, Array, device_index, dtype_name, empty, pointer, stream

MOST_CLASSES = 256  # as token_attention_cuda.h has it
# The last block classifies every token by itself: beyond a few, two products of cuBLAS are faster.
MOST_TOKENS = 16


def declines(x: Array, weights: Sequence[Array], *_: Any) -> str:
    """Takes the folded head in float32, float16 and bfloat16, up to 16 tokens and 256 classes."""
    if len(weights) != 4:
        return "takes folded weights: the printed form is for training, where its products belong to cuBLAS"
    if dtype_name(x) not in DTYPE_NUMBERS:
        return f"takes {', '.join(DTYPE_NUMBERS)}, got {dtype_name(x)}"
    if x.shape[0] > MOST_TOKENS:
        return f"takes up to {MOST_TOKENS} tokens, got {x.shape[0]}: more belong to cuBLAS"
    return (
        f"takes up to {MOST_CLASSES} classes, got {weights[3].shape[0]}" if weights[3].shape[0] > MOST_CLASSES else ""
    )


def run(x: Array, weights: Sequence[Array], softmax: bool, out: Array, scratch: Array | None = None) -> None:
    """Fill ``out``; see reference.py. ``scratch`` of another library holds the hidden units, and then the counter."""
    from dfer_edge import _cuda

    units, classes = weights[1].shape[0], weights[3].shape[0]
    if scratch is None:
        from dfer_edge.kernels.token_attention import workspace

        # Held until the launch: a tensor dropped before gives its memory to the next one, here the counter.
        held = empty((x.shape[0], units), "float32", x), workspace.counter(x.device)
        hidden, counter = map(pointer, held)
    else:
        hidden = pointer(scratch)
        counter = hidden + 4 * x.shape[0] * units
    _cuda.token_attention(
        pointer(x),
        tuple(map(pointer, weights)),
        (*x.shape, units, classes),
        softmax,
        DTYPE_NUMBERS[dtype_name(x)],
        hidden,
        counter,
        pointer(out),
        device_index(x),
        stream(x),
    )
