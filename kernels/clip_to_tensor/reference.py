"""The definition of the crop, the resampling and the normalisation."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Image


def crop_resize(image: Image, box: Box, size: int) -> Image:
    """Crop [H, W, 3] to ``box`` and resample to [size, size, 3], uint8.

    The box is rounded to whole pixels; pixels outside repeat the frame's edge. Shrinking averages pixel areas,
    enlarging is bilinear: one rule for training and every engine.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = box.rounded()
    # Clamp so that a box beside the frame still reads its nearest edge.
    inside = image[_clamp(top, height - 1) : max(_clamp(bottom, height), _clamp(top, height - 1) + 1)]
    inside = inside[:, _clamp(left, width - 1) : max(_clamp(right, width), _clamp(left, width - 1) + 1)]
    before_y, before_x = max(-top, 0), max(-left, 0)
    after_y, after_x = max(bottom - height, 0), max(right - width, 0)
    if before_x or before_y or after_x or after_y:
        inside = cv2.copyMakeBorder(inside, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    shrinks = inside.shape[0] > size or inside.shape[1] > size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (size, size), interpolation=how), np.uint8)


def _clamp(value: int, highest: int) -> int:
    return min(max(value, 0), highest)


def normalise(crops: Image, spec: ModelSpec) -> npt.NDArray[np.float32]:
    """uint8 [T, S, S, 3] to float32 [3, T, S, S]: ``(pixel / 255 - mean) / std`` per channel."""
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    table = ((levels - np.asarray(spec.mean)) / np.asarray(spec.std)).astype(np.float32)  # [256, 3]
    out = np.empty((3, *crops.shape[:3]), np.float32)
    for channel in range(3):
        np.take(table[:, channel], crops[..., channel], out=out[channel])
    return out
