"""The folded `token_attention` in Triton, one launch. Built, not yet run on hardware.

Each program makes BLOCK_H hidden units of every token; the last one to finish, known by a counter, classifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from dfer_edge.kernels.arrays import Array, as_tensor, dtype_name
from dfer_edge.kernels.token_attention import workspace

BLOCK_H = 4
BLOCK_D = 1024
BLOCK_I = 512  # hidden units of a step of the classifier
WARPS = 8  # with four, the rows of a step spill registers on sm_110 and sm_120
MOST_CLASSES = 64
MOST_TOKENS = 16  # see cuda_impl.py


def declines(x: Array, weights: Sequence[Array], *_: Any) -> str:
    """Takes the folded head in float32, float16 and bfloat16, up to 16 tokens and 64 classes."""
    if len(weights) != 4:
        return "takes folded weights: the printed form is for training, where its products belong to cuBLAS"
    if dtype_name(x) == "float64":
        return "takes float32, float16 and bfloat16, got float64"
    if x.shape[0] > MOST_TOKENS:
        return f"takes up to {MOST_TOKENS} tokens, got {x.shape[0]}: more belong to cuBLAS"
    return f"takes up to {MOST_CLASSES} classes, got {len(weights[3])}" if len(weights[3]) > MOST_CLASSES else ""


def run(x: Array, weights: Sequence[Array], softmax: bool, out: Array, *_: Any) -> None:
    """Fill ``out``; see reference.py."""
    token, *layers, target = (as_tensor(array) for array in (x, *weights, out))
    batch, width = token.shape
    units, classes = len(layers[1]), len(layers[3])
    if not batch:
        return
    hidden = torch.empty((batch, units), dtype=torch.float32, device=token.device)
    head_kernel[(triton.cdiv(units, BLOCK_H),)](
        token,
        *layers,
        hidden,
        workspace.counter(token.device),
        target,
        batch,
        width,
        units,
        classes,
        SOFTMAX=softmax,
        BLOCK_H=BLOCK_H,
        BLOCK_D=BLOCK_D,
        BLOCK_I=BLOCK_I,
        BLOCK_K=triton.next_power_of_2(max(classes, 2)),
        num_warps=WARPS,
    )


@triton.jit
def head_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    classifier_ptr,
    classifier_bias_ptr,
    hidden_ptr,
    counter_ptr,
    out_ptr,
    batch,
    width,
    units,
    classes,
    SOFTMAX: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """out [B, K] of x [B, D], weight [H, D], classifier [K, H]; hidden [B, H] is scratch."""
    unit = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    row = unit.to(tl.int64)[:, None] * width
    bias = tl.load(bias_ptr + unit, mask=unit < units, other=0.0).to(tl.float32)
    token_ptr, row_ptr = x_ptr, hidden_ptr  # moved on by a token at a time, beyond what int32 can count
    for _ in range(batch):
        sums = tl.zeros([BLOCK_H, BLOCK_D], tl.float32)
        for first in range(0, width, BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            mask = (unit < units)[:, None] & (d < width)
            weight = tl.load(weight_ptr + row + d, mask=mask, other=0.0).to(tl.float32)
            sums += weight * tl.load(token_ptr + d, mask=d < width, other=0.0).to(tl.float32)
        value = tl.sum(sums, 1) + bias
        value = tl.where(value < 0, 0.0, value)  # NaN stays
        tl.store(row_ptr + unit, value, mask=unit < units)
        token_ptr = token_ptr + width
        row_ptr = row_ptr + units
    # All threads' hidden units, then the count: whoever sees the full count sees all hidden units.
    tl.debug_barrier()
    done = tl.atomic_add(counter_ptr, 1, sem="acq_rel")
    if done == tl.num_programs(0) - 1:
        tl.atomic_xchg(counter_ptr, 0)  # for the next launch
        k = tl.arange(0, BLOCK_K)
        class_bias = tl.load(classifier_bias_ptr + k, mask=k < classes, other=0.0).to(tl.float32)
        row_ptr, target_ptr = hidden_ptr, out_ptr
        for _ in range(batch):
            scores = class_bias
            for first in range(0, units, BLOCK_I):
                i = first + tl.arange(0, BLOCK_I)
                value = tl.load(row_ptr + i, mask=i < units, other=0.0, cache_modifier=".cg")
                mask = (k < classes)[:, None] & (i < units)
                weight = tl.load(classifier_ptr + k[:, None] * units + i, mask=mask, other=0.0).to(tl.float32)
                scores += tl.sum(weight * value, 1)
            if SOFTMAX:
                scores = tl.where(k < classes, scores, float("-inf"))
                powers = tl.exp(scores - tl.max(scores, 0))
                scores = powers / tl.sum(powers, 0)
            tl.store(target_ptr + k, scores.to(out_ptr.dtype.element_ty), mask=k < classes)
            row_ptr = row_ptr + units
            target_ptr = target_ptr + classes
