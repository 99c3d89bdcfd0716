"""`attention_gate` in Triton: statistics, then gate and pooling. Built, not yet run on hardware.

The two passes over the map are kernels; the small middle, an MLP of [N, C] and a convolution of one or two planes, is
left to torch. No atomics: each block writes its own sums, so results are reproducible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch.nn import functional

from dfer_edge.kernels.arrays import Array, as_tensor, dtype_name

Tensor = torch.Tensor
BLOCK_C = 16
BLOCK_P = 128  # pixels
BLOCK_Q = 64  # pooled pixels, from four times as many


MOST_BLOCKS = 65535  # of an axis of a grid but the first, which counts in 16 bits


def declines(x: Array, *_: Any) -> str:
    """Takes float32, float16 and bfloat16, maps of up to 65535 blocks of pixels."""
    if dtype_name(x) == "float64":
        return "takes float32, float16 and bfloat16, got float64"
    most, pixels = MOST_BLOCKS * BLOCK_P, x.shape[2] * x.shape[3]
    return f"takes maps up to {most} pixels, got {pixels}" if pixels > most else ""


def run(x: Array, kind: str, weights: Sequence[Array], pool: bool, out: Array, *unused: Any) -> None:
    """Fill ``out``; see reference.py."""
    features, target = as_tensor(x), as_tensor(out)
    if not len(features):
        return
    wide = [as_tensor(weight).float() for weight in weights]
    if kind == "se":
        means = statistics(features, maximum=False, plane=False)[0]
        scale, plane = torch.sigmoid(_mlp(means, *wide)), features
    elif kind == "agfer":
        means, _, mean_plane = statistics(features, maximum=False, plane=True)
        scale = torch.sigmoid(_mlp(means, *wide[:4]))
        hidden = torch.relu(_conv(mean_plane[:, None], wide[4], wide[5], 1))
        plane = torch.sigmoid(_conv(hidden, wide[6], wide[7], 1))
    else:
        means, maxima, _ = statistics(features, maximum=True, plane=False)
        scale = torch.sigmoid(_mlp(means, *wide[:4]) + _mlp(maxima, *wide[4:8]))
        plane = torch.sigmoid(_conv(extremes(features, scale), wide[8], wide[9], 3))
    _apply(features, scale.contiguous(), plane.contiguous(), kind, pool, target)


def _conv(planes: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    # Tensor cores would round float32 to 10 bits, which cuDNN lets them by default.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return functional.conv2d(planes, weight, bias, padding=padding)


def _mlp(pooled: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    return functional.linear(torch.relu(functional.linear(pooled, weight1, bias1)), weight2, bias2)


def statistics(x: Tensor, maximum: bool, plane: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Means and maxima [N, C] over the pixels and the mean [N, H, W] over the channels, float32, in one read of x."""
    count, channels, height, width = x.shape
    pixels = height * width
    blocks = (triton.cdiv(pixels, BLOCK_P), triton.cdiv(channels, BLOCK_C))
    sums, maxima = (x.new_empty((count, blocks[0], channels), dtype=torch.float32) for _ in range(2))
    planes = x.new_empty((count, blocks[1], height, width), dtype=torch.float32)
    statistics_kernel[(count, *blocks)](
        x, sums, maxima, planes, channels, pixels, MAXIMUM=maximum, PLANE=plane, BLOCK_C=BLOCK_C, BLOCK_P=BLOCK_P
    )
    return sums.sum(1) / pixels, maxima.amax(1), planes.sum(1) / channels


def extremes(x: Tensor, scale: Tensor) -> Tensor:
    """Maximum and mean over the channels of x scale, [N, 2, H, W]."""
    count, channels, height, width = x.shape
    planes = x.new_empty((count, 2, height, width), dtype=torch.float32)
    grid = (count, triton.cdiv(height * width, BLOCK_P))
    extremes_kernel[grid](x, scale.contiguous(), planes, channels, height * width, BLOCK_C=BLOCK_C, BLOCK_P=BLOCK_P)
    return planes


def _apply(x: Tensor, scale: Tensor, plane: Tensor, kind: str, pool: bool, out: Tensor) -> None:
    count, channels, height, width = x.shape
    cells = out.shape[2] * out.shape[3]
    grid = (count, triton.cdiv(channels, BLOCK_C), triton.cdiv(cells, BLOCK_Q if pool else BLOCK_P))
    if pool:
        pool_kernel[grid](x, scale, plane, out, channels, height, width, KIND=kind, BLOCK_C=BLOCK_C, BLOCK_Q=BLOCK_Q)
    else:
        gate_kernel[grid](x, scale, plane, out, channels, cells, KIND=kind, BLOCK_C=BLOCK_C, BLOCK_P=BLOCK_P)


@triton.jit
def larger(a, b):
    """As torch's max pooling: NaN wins."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def maximum(x, inside, AXIS: tl.constexpr):
    """Along an axis of a block, of what lies inside the map; tl.max alone would pass over NaN."""
    highest = tl.max(tl.where(inside, x, float("-inf")), AXIS)
    return tl.where(tl.max((x != x).to(tl.int32), AXIS) > 0, float("nan"), highest)


@triton.jit
def gated(x, scale, plane, KIND: tl.constexpr):
    """x under its gate, float32."""
    if KIND == "se":
        return x * scale
    if KIND == "cbam":
        return x * scale * plane
    return x / (1 + tl.exp(-scale * plane))


@triton.jit
def statistics_kernel(
    x_ptr,
    sums_ptr,
    maxima_ptr,
    planes_ptr,
    channels,
    pixels,
    MAXIMUM: tl.constexpr,
    PLANE: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Sums and maxima [N, blocks of P, C] over a block's pixels, sums [N, blocks of C, P] over its channels."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = (c < channels)[:, None] & (p < pixels)
    at = (n * channels + c)[:, None] * pixels + p
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    at = (n * tl.num_programs(1) + tl.program_id(1)) * channels + c
    tl.store(sums_ptr + at, tl.sum(x, 1), mask=c < channels)
    if MAXIMUM:
        tl.store(maxima_ptr + at, maximum(x, inside, 1), mask=c < channels)
    if PLANE:
        at = (n * tl.num_programs(2) + tl.program_id(2)) * pixels + p
        tl.store(planes_ptr + at, tl.sum(x, 0), mask=p < pixels)


@triton.jit
def extremes_kernel(x_ptr, scale_ptr, planes_ptr, channels, pixels, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """Planes [N, 2, P]: maximum and mean over the channels of x scale."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    highest = tl.full([BLOCK_P], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_P], tl.float32)
    for first in range(0, channels, BLOCK_C):
        c = first + tl.arange(0, BLOCK_C)
        inside = (c < channels)[:, None] & (p < pixels)
        x = tl.load(x_ptr + (n * channels + c)[:, None] * pixels + p, mask=inside, other=0.0).to(tl.float32)
        y = x * tl.load(scale_ptr + n * channels + c, mask=c < channels, other=0.0)[:, None]
        highest = larger(highest, maximum(y, inside, 0))
        total += tl.sum(y, 0)
    tl.store(planes_ptr + n * 2 * pixels + p, highest, mask=p < pixels)
    tl.store(planes_ptr + (n * 2 + 1) * pixels + p, total / channels, mask=p < pixels)


@triton.jit
def gate_kernel(
    x_ptr,
    scale_ptr,
    plane_ptr,
    out_ptr,
    channels,
    pixels,
    KIND: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """out [N, C, P] = gated x; scale [N, C], plane [N, P] (not read for SE)."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.program_id(2) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = (c < channels)[:, None] & (p < pixels)
    at = (n * channels + c)[:, None] * pixels + p
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.load(scale_ptr + n * channels + c, mask=c < channels, other=0.0)[:, None]
    plane = 0.0
    if KIND != "se":
        plane = tl.load(plane_ptr + n * pixels + p, mask=p < pixels, other=0.0)[None, :]
    tl.store(out_ptr + at, gated(x, scale, plane, KIND).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def gated_row(x_ptr, plane_ptr, scale, at_x, at_plane, inside, in_plane, KIND: tl.constexpr):
    """The larger of each horizontal pair of a gated row, [C, Q] of at_x [C, Q, 2]."""
    x = tl.load(x_ptr + at_x, mask=inside, other=0.0).to(tl.float32)
    plane = 0.0
    if KIND != "se":
        plane = tl.load(plane_ptr + at_plane, mask=in_plane, other=0.0)[None]
    left, right = tl.split(gated(x, scale, plane, KIND))
    return larger(left, right)


@triton.jit
def pool_kernel(
    x_ptr,
    scale_ptr,
    plane_ptr,
    out_ptr,
    channels,
    height,
    width,
    KIND: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """out [N, C, H // 2, W // 2] = max pooling of gated x."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    q = tl.program_id(2) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    columns = width // 2
    cells = (height // 2) * columns
    upper = ((q // columns) * 2 * width + (q % columns) * 2)[:, None] + tl.arange(0, 2)  # [Q, 2]
    in_plane = (q < cells)[:, None] & (tl.arange(0, 2) < 2)
    inside = (c < channels)[:, None, None] & in_plane[None]
    map_ = ((n * channels + c) * height * width)[:, None, None]
    plane = n * height * width
    scale = tl.load(scale_ptr + n * channels + c, mask=c < channels, other=0.0)[:, None, None]
    top = gated_row(x_ptr, plane_ptr, scale, map_ + upper[None], plane + upper, inside, in_plane, KIND)
    lower = upper + width
    bottom = gated_row(x_ptr, plane_ptr, scale, map_ + lower[None], plane + lower, inside, in_plane, KIND)
    at = (n * channels + c)[:, None] * cells + q
    best = larger(top, bottom).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at, best, mask=(c < channels)[:, None] & (q < cells))
