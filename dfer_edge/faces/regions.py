"""Regions of a frame: squares about faces, level or turned; how they are cut out, and where points lie in the crops."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.kernels.clip_to_tensor import crop_resize
from dfer_edge.types import Box, Image, Points

# Samples along a side of a pixel of a turned crop: crops of faces larger than 8 times the network's input lose detail
# that it would not see.
_MOST_SAMPLES = 8


def square(box: Box, margin: float) -> Box:
    """Square around the centre of ``box``, its side ``margin`` times the box's longer side."""
    half = max(box.width, box.height) * margin / 2
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return Box(x - half, y - half, x + half, y + half)


def frame_box(image: Image) -> Box:
    """All of a frame [H, W, 3]."""
    return Box(0, 0, image.shape[1], image.shape[0])


class Region(NamedTuple):
    """A square of a frame (edges of pixels), turned about its centre by ``angle`` radians, clockwise in the image."""

    x: float
    y: float
    side: float
    angle: float

    @property
    def axes(self) -> npt.NDArray[np.float64]:
        """[2, 2]: the crop's axes, to the right and down, in the frame, one a row."""
        along, across = math.cos(self.angle), math.sin(self.angle)
        return np.asarray([[along, across], [-across, along]])


def cut(image: Image, region: Box | Region, size: int) -> Image:
    """The crop [S, S, 3] of a region, in one step of resampling.

    Boxes by :func:`~dfer_edge.kernels.clip_to_tensor.crop_resize`. Of a turned region each pixel is the mean of as many
    bilinear samples as it covers pixels of the frame, on a square grid; outside, the frame's nearest edge.
    """
    if isinstance(region, Box):
        return crop_resize(image, region, size)
    many = min(max(1, math.ceil(region.side / size)), _MOST_SAMPLES)
    count = many * size
    linear = region.axes.T * (region.side / count)
    # Pixel centres of the frame: half a pixel before the edges that the region counts.
    offset = np.asarray([region.x - 0.5, region.y - 0.5]) - linear.sum(1) * (count - 1) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.column_stack([linear, offset])
    sampled = cv2.warpAffine(image, matrix, (count, count), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if many > 1:
        sampled = cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(sampled, np.uint8)


def points_in_crop(points: Points, region: Box | Region, size: int) -> Points:
    """Points [68, 2] in frame pixels to pixels of the crop of ``region`` resampled to ``size``."""
    # Pixel centres, not corners, map onto each other: +0.5 before and -0.5 after.
    edges = np.asarray(points, np.float64) + 0.5
    if isinstance(region, Region):
        turned = (edges - (region.x, region.y)) @ region.axes.T * (size / region.side)
        return np.asarray(turned + (size - 1) / 2, np.float32)
    left, top, right, bottom = region.rounded()
    scale = np.asarray([size / (right - left), size / (bottom - top)])
    return np.asarray((edges - (left, top)) * scale - 0.5, np.float32)


def points_in_frame(points: Points, region: Box | Region, size: int) -> Points:
    """Inverse of :func:`points_in_crop`."""
    if isinstance(region, Region):
        turned = (np.asarray(points, np.float64) - (size - 1) / 2) * (region.side / size) @ region.axes
        return np.asarray(turned + np.asarray([region.x - 0.5, region.y - 0.5]), np.float32)
    left, top, right, bottom = region.rounded()
    scale = np.asarray([(right - left) / size, (bottom - top) / size])
    return np.asarray((np.asarray(points, np.float64) + 0.5) * scale + (left, top) - 0.5, np.float32)


def box_in_crop(box: Box, region: Box | Region, size: int) -> Box:
    """A box in frame pixels to pixels of the crop of ``region`` resampled to ``size``.

    In a levelled crop the face's box lies in the middle and is level too.
    """
    if isinstance(region, Region):
        width, height = (side * size / region.side / 2 for side in (box.width, box.height))
        return Box(size / 2 - width, size / 2 - height, size / 2 + width, size / 2 + height)
    left, top, right, bottom = region.rounded()
    across, down = size / (right - left), size / (bottom - top)
    return Box(
        (box.left - left) * across, (box.top - top) * down, (box.right - left) * across, (box.bottom - top) * down
    )


def shrunk(image: Image, longest: int) -> tuple[Image, float]:
    """The frame with at most ``longest`` pixels on its longer side, and its scale."""
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale == 1.0:
        return image, scale
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def box_of_square(left: float, top: float, side: float, shape: tuple[float, float, float]) -> Box:
    """The face box of a detector that finds squares: ``shape`` is its width, height and how much lower it lies, in
    sides of the square.
    """
    width, height, down = shape
    x, y = left + side / 2, top + side * (0.5 + down)
    return Box(x - side * width / 2, y - side * height / 2, x + side * width / 2, y + side * height / 2)
