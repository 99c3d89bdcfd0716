"""Triplet gates and Gaussian key-point pooling of `keypoint_tsa` in its exact inference form.

F = x (g1 + g2 + g3) / 3 with gates g1 on (h, w), g2 on (c, w), g3 on (c, h); v_j = mean over the S x S cells of F A_j
for 18 heat maps A_j, and v_g = mean of F (paper 003; models.md section 4).

A heat map is the outer product of two profiles, gy_j gx_j: 504 exponentials a frame instead of 3,528. The global mean
is a 19th map of ones. Two equal ways to pool with them:

- ``pool_gated`` folds the gates into the pooling, so that F is never written:
  v_j = 1 / (3 S^2) [ sum x (A_j g1) + sum_h gy_j g3 (sum_w x gx_j) + sum_w gx_j g2 (sum_h x gy_j) ].
  This is what a fused kernel computes with two reads of x. As separate operations it has three products for one.
- ``pool_gemm`` writes F and is one product, (19 x S^2)(S^2 x C).
"""

from __future__ import annotations

import math

import numpy as np

from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import Array
from dfer_edge.inference.keypoint_graph import BRIDGE, GROUPS, LANDMARKS, NODES, selection
from dfer_edge.inference.keypoint_options import Options

# The nodes in the order of the inference form: pooled regions first, so that dropping the bridge is a slice.
ORDER = (*(node for group in GROUPS for node in group), *BRIDGE)
KEPT = NODES - len(BRIDGE)
# The nodes and the whole face.
ROWS = NODES + 1

GATE_KERNEL = 7


def triplet_gates(graph: Graph[T], x: T) -> tuple[T, T, T]:
    """Gates of x [N, C, S, S] pooled over channels, height and width: [N, 1, S, S], [N, 1, C, S], [N, 1, C, S]."""
    channels, side = graph.shape(x)[1:3]
    return _gate(graph, x, 1, side), _gate(graph, x, 2, channels), _gate(graph, x, 3, channels)


def _gate(graph: Graph[T], x: T, axis: int, height: int) -> T:
    side, pad = graph.shape(x)[-1], GATE_KERNEL // 2
    pooled = [graph.reshape(pool(x, (axis,)), (-1, 1, height, side)) for pool in (graph.max, graph.mean)]
    name = f"gates.{axis - 1}"
    weight = graph.weight(f"{name}.weight", (1, 2, GATE_KERNEL, GATE_KERNEL))
    gate = graph.conv(graph.concat(pooled, 1), weight, graph.weight(f"{name}.bias", (1,), 0.02), (1, 1), (pad, pad))
    return graph.activate(gate, "sigmoid")


def gaussian_profiles(graph: Graph[T], landmarks: T, size: int, side: int, options: Options) -> tuple[T, T]:
    """Profiles gy, gx [N, 19, S] of landmarks [N, 68, 2] in pixels of an image ``size`` wide, on a map ``side`` wide.

    Scaled so that v_j is the plain sum over cells of x gy_j gx_j (g1 + g2 + g3): 1/S each, and 1/3 in gx.
    """
    unit = 1 / (math.sqrt(2) * options.sigma_fraction * side)  # of a cell, so that the exponent is minus a square
    # A product and a mean pick the nodes: a matrix product would put bookkeeping among the MACs.
    pick = selection()[list(ORDER)] * (LANDMARKS * unit * side / size)
    picked = graph.mul(graph.reshape(landmarks, (-1, 1, LANDMARKS, 2)), graph.constant(pick[..., None]))
    centres = graph.reshape(graph.transpose(graph.mean(picked, (2,)), (0, 2, 1)), (-1, 2, NODES, 1))
    # The rest of the centre, (x + 0.5) side / size - 0.5 cells, minus the cell.
    offset = unit * (0.5 * side / size - 0.5 - np.arange(side))
    distance = graph.add(centres, graph.constant(offset))  # [N, 2, 18, S]
    exponent = graph.mul(graph.mul(distance, distance), graph.constant(-1.0))
    # exp(0) = 1: a row of zeros becomes the map of the whole face.
    exponent = graph.pad(exponent, 2, 0, 1)
    if options.norm_heat:
        # A / sum(A) is a product of softmaxes; the row of zeros gives 1/S as before.
        profiles = graph.mul(graph.softmax(exponent), graph.constant(_per_axis(1 / 3, 1)))
    else:
        profiles = graph.mul(graph.activate(exponent, "exp"), graph.constant(_per_axis(1 / (3 * side), 1 / side)))
    gx, gy = (graph.reshape(graph.slice(profiles, 1, axis, axis + 1), (-1, ROWS, side)) for axis in (0, 1))
    return gy, gx


def node_cells(graph: Graph[T], landmarks: T, size: int, side: int) -> T:
    """Centres of the nodes [N, 18, 2], x then y, in cells of a map ``side`` wide, of landmarks [N, 68, 2] in pixels."""
    pick, offset = _cells(size, side)
    picked = graph.mul(graph.reshape(landmarks, (-1, 1, LANDMARKS, 2)), graph.constant(LANDMARKS * pick[..., None]))
    return graph.add(graph.mean(picked, (2,)), graph.constant(offset))


def node_cells_of(landmarks: Array, size: int, side: int) -> Array:
    """The same of an array."""
    pick, offset = _cells(size, side)
    return pick @ landmarks + offset


def _cells(size: int, side: int) -> tuple[Array, float]:
    """What takes landmarks in pixels to the nodes' cells: a matrix [18, 68] and an offset."""
    return selection()[list(ORDER)] * (side / size), 0.5 * side / size - 0.5


def _per_axis(x: float, y: float) -> Array:
    return np.reshape([x, y], (1, 2, 1, 1))


def _maps(graph: Graph[T], gy: T, gx: T, side: int) -> T:
    return graph.mul(graph.reshape(gy, (-1, ROWS, side, 1)), graph.reshape(gx, (-1, ROWS, 1, side)))


def _pool_maps(graph: Graph[T], x: T, maps: T) -> T:
    """[N, C, 19]: sums over the cells of x [N, C, S, S] times maps [N, 19, S, S]."""
    channels, side = graph.shape(x)[1:3]
    flat = graph.transpose(graph.reshape(maps, (-1, ROWS, side * side)), (0, 2, 1))
    return graph.matmul(graph.reshape(x, (-1, channels, side * side)), flat)


def pool_gated(graph: Graph[T], x: T, gates: tuple[T, T, T], gy: T, gx: T) -> T:
    """V and, last, v_g, [N, 19, C], of x [N, C, S, S] under its gates, without F."""
    over_channels, over_height, over_width = gates
    channels, side = graph.shape(x)[1:3]
    pooled = _pool_maps(graph, x, graph.mul(_maps(graph, gy, gx, side), over_channels))
    # Over w first, then over h with the gate of (c, h).
    lines = graph.matmul(graph.reshape(x, (-1, channels * side, side)), graph.transpose(gx, (0, 2, 1)))
    weights = graph.reshape(graph.transpose(gy, (0, 2, 1)), (-1, 1, side, ROWS))
    lines = graph.mul(graph.reshape(lines, (-1, channels, side, ROWS)), weights)
    lines = graph.matmul(graph.reshape(over_width, (-1, channels, 1, side)), lines)
    # Over h first, then over w with the gate of (c, w).
    columns = graph.matmul(graph.reshape(gy, (-1, 1, ROWS, side)), x)  # [N, C, 19, S]
    columns = graph.mul(columns, graph.reshape(gx, (-1, 1, ROWS, side)))
    columns = graph.matmul(columns, graph.reshape(over_height, (-1, channels, side, 1)))
    for part in (lines, columns):
        pooled = graph.add(pooled, graph.reshape(part, (-1, channels, ROWS)))
    return graph.transpose(pooled, (0, 2, 1))


def pool_gemm(graph: Graph[T], x: T, gates: tuple[T, T, T], gy: T, gx: T) -> T:
    """The same, [N, 19, C], through F."""
    over_channels, over_height, over_width = gates
    channels, side = graph.shape(x)[1:3]
    lines = graph.add(
        graph.reshape(over_height, (-1, channels, 1, side)), graph.reshape(over_width, (-1, channels, side, 1))
    )
    gated = graph.mul(x, graph.add(lines, over_channels))
    return graph.transpose(_pool_maps(graph, gated, _maps(graph, gy, gx, side)), (0, 2, 1))
