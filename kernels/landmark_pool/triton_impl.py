"""`landmark_pool` in Triton. Built, not yet run on hardware.

A program pools BLOCK_C channels of an image at BLOCK_J landmarks: blocks of the map times their weights, as products on
the tensor cores. The weights gy gx live in registers, from ROWS + COLUMNS exponentials a landmark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import triton
import triton.language as tl

from dfer_edge.kernels.arrays import Array, as_tensor, dtype_name

BLOCK_J = 32
BLOCK_C = 32
# Cells of a block, by bytes of an element. float32 goes through the tensor cores in three parts, which take three times
# the registers.
CELLS = {2: 64, 4: 32}


def block_of(bytes_of_element: int, width: int) -> tuple[int, int]:
    """Rows and columns of a block of a map ``width`` cells wide."""
    # A wide map's blocks are single rows, whose gates take more registers: half as many cells, or they would spill.
    cells = CELLS[bytes_of_element] // (2 if width > 16 else 1)
    columns: int = min(triton.next_power_of_2(width), cells)
    return cells // columns, columns


def declines(features: Array, *_: Any) -> str:
    """Takes float32, float16 and bfloat16."""
    return "takes float32, float16 and bfloat16, got float64" if dtype_name(features) == "float64" else ""


def run(
    features: Array, points: Array, sigma: float, gates: Sequence[Array] | None, norm_heat: bool, out: Array
) -> None:
    """Fill ``out``; see reference.py."""
    x, centres, target = (as_tensor(array) for array in (features, points, out))
    count, channels, height, width = x.shape
    nodes = centres.shape[1]
    if not count:
        return
    over = [x] * 3 if gates is None else [as_tensor(gate) for gate in gates]
    rows, columns = block_of(x.element_size(), width)
    # exp(-d^2 / (2 sigma^2)) = 2^-(d unit)^2; clamped so that 0 times it stays 0 for every sigma above 0.
    unit = min(math.sqrt(0.5 / math.log(2)) / max(sigma, 1e-300), 1e18)
    pool_kernel[(count, triton.cdiv(channels, BLOCK_C), triton.cdiv(nodes + 1, BLOCK_J))](
        x,
        centres,
        *over,
        target,
        channels,
        nodes,
        unit,
        HEIGHT=height,
        WIDTH=width,
        GATED=gates is not None,
        NORM_HEAT=norm_heat,
        ROWS=rows,
        COLUMNS=columns,
        BLOCK_C=BLOCK_C,
        BLOCK_J=BLOCK_J,
        num_warps=4,
    )


@triton.jit
def exponent(cell, centre, unit, last: tl.constexpr, NORM_HEAT: tl.constexpr):
    """(d unit)^2 of cells and centres, or its excess over that of the nearest cell."""
    if NORM_HEAT:
        nearest = tl.minimum(tl.maximum(tl.floor(centre + 0.5), 0.0), last)
        # The difference of two squares as a product; 0 at the nearest cell even when the other factor is not finite.
        excess = (cell - nearest) * unit * ((cell - centre + (nearest - centre)) * unit)
        return tl.where(cell == nearest, 0.0, excess)
    distance = (cell - centre) * unit
    return distance * distance


@triton.jit
def weights(cell, centre, unit, is_node, COUNT: tl.constexpr, NORM_HEAT: tl.constexpr):
    """[cells, J]: 2^-exponent of nodes, 1 of the global mean, 0 of cells that pad the block."""
    weight = tl.exp2(-exponent(cell[:, None], centre, unit, COUNT - 1, NORM_HEAT))
    return tl.where((cell < COUNT)[:, None], tl.where(is_node, weight, 1.0), 0.0)


@triton.jit
def triplet_gate(
    plane_ptr, over_height_ptr, over_width_ptr, cell_c, inside_c, h, w, HEIGHT: tl.constexpr, WIDTH: tl.constexpr
):
    """(g1 + g2 + g3) / 3 of a block [C, H, W], float32; cell_c counts maps."""
    rows, columns = h[None, :, None], w[None, None, :]
    in_plane = (h < HEIGHT)[:, None] & (w < WIDTH)
    by_channels = tl.load(plane_ptr + h[:, None] * WIDTH + w, mask=in_plane, other=0.0)[None]
    by_height = tl.load(over_height_ptr + cell_c * WIDTH + columns, mask=inside_c & (columns < WIDTH), other=0.0)
    by_width = tl.load(over_width_ptr + cell_c * HEIGHT + rows, mask=inside_c & (rows < HEIGHT), other=0.0)
    return (by_channels.to(tl.float32) + by_height.to(tl.float32) + by_width.to(tl.float32)) * (1.0 / 3.0)


@triton.jit
def pool_kernel(
    x_ptr,
    points_ptr,
    over_channels_ptr,
    over_height_ptr,
    over_width_ptr,
    out_ptr,
    channels,
    nodes,
    unit,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    GATED: tl.constexpr,
    NORM_HEAT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """out [N, J + 1, C] of x [N, C, H, W] and points [N, J, 2]."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    j = tl.program_id(2) * BLOCK_J + tl.arange(0, BLOCK_J)
    points_ptr += n * nodes * 2
    centre_x = tl.load(points_ptr + 2 * j, mask=j < nodes, other=0.0)
    centre_y = tl.load(points_ptr + 2 * j + 1, mask=j < nodes, other=0.0)
    inside_c = (c < channels)[:, None, None]
    cell_c = (n * channels + c)[:, None, None]  # int64
    total = tl.zeros([BLOCK_J], tl.float32)
    sums = tl.zeros([BLOCK_C, BLOCK_J], tl.float32)
    for first_h in range(0, HEIGHT, ROWS):
        h = first_h + tl.arange(0, ROWS)
        gy = weights(h, centre_y, unit, j < nodes, HEIGHT, NORM_HEAT)  # [H, J]
        for first_w in range(0, WIDTH, COLUMNS):
            w = first_w + tl.arange(0, COLUMNS)
            gx = weights(w, centre_x, unit, j < nodes, WIDTH, NORM_HEAT)  # [W, J]
            in_plane = (h < HEIGHT)[:, None] & (w < WIDTH)
            cell = h[:, None] * WIDTH + w  # [H, W]
            x = tl.load(x_ptr + cell_c * (HEIGHT * WIDTH) + cell[None], mask=inside_c & in_plane[None], other=0.0)
            if GATED:
                plane = over_channels_ptr + n * (HEIGHT * WIDTH)
                gate = triplet_gate(plane, over_height_ptr, over_width_ptr, cell_c, inside_c, h, w, HEIGHT, WIDTH)
                x = (x.to(tl.float32) * gate).to(x.dtype)
            weight = gy[:, None, :] * gx[None, :, :]  # [H, W, J], in registers only
            if NORM_HEAT:
                total += tl.sum(tl.sum(weight, 0), 0)
            weight = tl.reshape(weight, [ROWS * COLUMNS, BLOCK_J]).to(x.dtype)
            sums = tl.dot(tl.reshape(x, [BLOCK_C, ROWS * COLUMNS]), weight, sums, input_precision="tf32x3")
    share = tl.zeros([BLOCK_J], tl.float32) + 1.0 / (HEIGHT * WIDTH)
    if NORM_HEAT:
        share = tl.where(j < nodes, 1.0 / total, share)
    pooled = sums * share[None, :]
    at = (n * (nodes + 1) + j) * channels
    tl.store(
        out_ptr + at[None, :] + c[:, None],
        pooled.to(out_ptr.dtype.element_ty),
        mask=(c < channels)[:, None] & (j <= nodes)[None, :],
    )
