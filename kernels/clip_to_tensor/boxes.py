"""Boxes as the kernels take them: whole pixels, int32 [N, T, 4]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels.arrays import Array, contiguous, dtype_name, is_array, is_tensor, on_host
from dfer_edge.kernels.device_array import leading

# Keeps every product of the resampling inside 63 bits and every coordinate inside 31.
LONGEST_SIDE = 32767
FARTHEST = 2**30


def whole_boxes(boxes: Any, frames: int) -> tuple[Array, bool]:
    """Boxes int32 [N, T, 4] of T = ``frames``, and whether they were N sequences.

    Raises
    ------
    InvalidInput
        If there are not as many boxes as frames, or none; if a coordinate is not finite or beyond 2**30; if a side is
        longer than 32767.
    """
    if is_array(boxes) and dtype_name(boxes) == "int32" and not on_host(boxes):
        table, many = contiguous(boxes), boxes.ndim == 3
    else:
        table, many = _rounded(boxes, frames)
    if not many:
        table = leading(table)
    if table.ndim != 3 or table.shape[2] != 4 or table.shape[1] != frames or not frames:
        raise InvalidInput(f"expected as many boxes as frames and at least one, got {list(table.shape)} and {frames}")
    return table, many


def _rounded(boxes: Any, frames: int) -> tuple[npt.NDArray[np.int32], bool]:
    listed = boxes.cpu().numpy() if is_tensor(boxes) else boxes
    if not isinstance(listed, Sequence | np.ndarray):
        raise InvalidInput(f"expected boxes as a sequence or an array, got {type(boxes).__name__}")
    if not len(listed):
        empty = isinstance(listed, np.ndarray) and listed.ndim == 3
        if not empty:
            raise InvalidInput(f"expected as many boxes as frames and at least one, got 0 and {frames}")
    try:
        edges = np.asarray(listed, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"expected as many boxes as frames, of four edges each: {error}") from error
    if edges.ndim not in (2, 3) or edges.shape[-1] != 4:
        raise InvalidInput(f"expected boxes [T, 4] or [N, T, 4], as many as frames, got {list(edges.shape)}")
    if not (np.isfinite(edges).all() and (abs(edges) < FARTHEST).all()):
        where = np.argwhere(~(abs(edges) < FARTHEST))[0, :-1].tolist()
        raise InvalidInput(f"expected finite edges within {FARTHEST} pixels, got {edges[tuple(where)]} at box {where}")
    whole = np.rint(edges)
    whole[..., 2:] = np.maximum(whole[..., 2:], whole[..., :2] + 1)
    if whole.size and (whole[..., 2:] - whole[..., :2]).max() > LONGEST_SIDE:
        raise InvalidInput(f"expected boxes of sides up to {LONGEST_SIDE} pixels, got {listed}")
    return whole.astype(np.int32), edges.ndim == 3
