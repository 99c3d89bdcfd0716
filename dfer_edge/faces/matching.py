"""Who is who: pairs of lowest cost. Greedy, which a test holds against scipy's optimal assignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfer_edge.types import Box

Matrix = npt.NDArray[np.float64]


def overlaps(first: Sequence[Box], second: Sequence[Box]) -> Matrix:
    """Intersection over union of each box with each: [N, M], 0..1."""
    a = np.asarray(first, np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, 1e-12))


def pairs(cost: Matrix) -> list[tuple[int, int]]:
    """Pairs (row, column) by ascending cost, each row and column once; infinite costs are no pairs."""
    rows, columns = np.nonzero(np.isfinite(cost))
    order = np.argsort(cost[rows, columns], kind="stable")
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    chosen = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken_rows and column not in taken_columns:
            chosen.append((row, column))
            taken_rows.add(row)
            taken_columns.add(column)
    return chosen


def match(old: Sequence[Box], new: Sequence[Box], least: float) -> list[tuple[int, int]]:
    """Pairs (position in ``old``, position in ``new``) by descending overlap, each box once, overlap >= ``least``."""
    shared = overlaps(old, new)
    return pairs(np.where(shared >= least, -shared, np.inf))
