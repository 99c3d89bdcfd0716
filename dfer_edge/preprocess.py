"""The one preprocessing: from a face box to the array that a network reads.

Size, mean, std and margin come from the model's :class:`~dfer_edge.spec.ModelSpec`; the resampling rule lives in
:mod:`dfer_edge.kernels.clip_to_tensor`. Training, calibration, every engine and evaluation call these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.face_geometry import ABOVE, HEIGHT, WIDTH, box_of, face_frame, roll
from dfer_edge.kernels import lbp
from dfer_edge.kernels.clip_to_tensor import crop_resize, normalise
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Clip, Image, Points

# Samples along a side of a pixel of a turned crop: crops of faces larger than 8 times the network's input lose detail
# that it would not see.
_MOST_SAMPLES = 8
# A box that overlaps that of the points by less was laid by something else.
_LAID_IOU = 0.9


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


def region(box: Box, spec: ModelSpec, cropped: bool = False, points: Points | None = None) -> Box | Region:
    """What the network reads around a face.

    Parameters
    ----------
    box
        Of the face, as the spec wants it.
    spec
        Says how much around it, and whether the crop is levelled.
    cropped
        Of a face crop, whose extent ``box`` is; not levelled.
    points
        float32 [68, 2] in pixels of the frame, for levelled crops; without them a face counts as level.
    """
    share = spec.face_margin * spec.crop_share
    if cropped:
        shorter = min(box.width, box.height) / max(box.width, box.height)
        return box if spec.crop_share == 1 else square(box, spec.crop_share * shorter)
    return _turned(box, spec, points, share) if spec.level else square(box, share)


def _turned(box: Box, spec: ModelSpec, points: Points | None, share: float) -> Region:
    side = max(box.width, box.height) * share
    if points is None or np.isnan(points).any():
        return Region(*box.centre, side, 0.0)
    angle = roll(points)
    if spec.face_box != "landmarks" or box_of(points).iou(box) < _LAID_IOU:
        return Region(*box.centre, side, angle)
    # The box is laid above the middle of the face, where above is in the face.
    (x, y), s = (part.tolist() for part in face_frame(points.astype(np.float64)))
    x, y = x + 0.5 + ABOVE * s * math.sin(angle), y + 0.5 - ABOVE * s * math.cos(angle)
    return Region(x, y, max(WIDTH, HEIGHT) * s * share, angle)


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


def in_pixels_of(crops: Image, spec: ModelSpec) -> Image:
    """RGB crops [..., S, S, 3] as the network reads them: as they are, or as their local binary patterns."""
    if spec.pixels == "rgb":
        return crops
    codes = np.asarray(lbp(crops), np.uint8)
    return np.repeat(codes[..., None], 3, axis=-1)


def face_crop(image: Image, box: Box, spec: ModelSpec, points: Points | None = None) -> Image:
    """The crop [S, S, 3] of a face in an RGB frame [H, W, 3]; see :func:`region`."""
    return cut(image, region(box, spec, points=points), spec.size)


def whole_frame(image: Image, spec: ModelSpec) -> Image:
    """What is read of a frame that is a face crop already, resampled to [S, S, 3]; its sides may differ."""
    return cut(image, region(frame_box(image), spec, cropped=True), spec.size)


def inside_crop(spec: ModelSpec) -> Box:
    """Where the face box lies in a crop [S, S, 3] of ours; crops from elsewhere are taken to be alike."""
    return square(Box(0, 0, spec.size, spec.size), 1 / (spec.face_margin * spec.crop_share))


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


def to_feed(clips: Sequence[Clip], spec: ModelSpec) -> dict[str, npt.NDArray[np.float32]]:
    """Engine inputs of a batch of clips, normalised.

    Returns ``clip`` [B, 3, T, S, S] for clip networks, ``image`` [B*T, 3, S, S] for image networks, and ``landmarks``
    [B, T, 68, 2] in pixels of the crops, x then y, for networks that take them.

    Raises
    ------
    InvalidInput
        If the network takes landmarks and a clip has none.
    """
    arrays = np.stack([normalise(in_pixels_of(clip.frames, spec), spec) for clip in clips])
    if spec.input == "image":
        return {"image": np.ascontiguousarray(arrays.transpose(0, 2, 1, 3, 4)).reshape(-1, *spec.input_shape)}
    feed = {"clip": arrays}
    if spec.landmarks:
        points = [clip.landmarks for clip in clips if clip.landmarks is not None]
        if len(points) != len(clips):
            raise InvalidInput(f"expected landmarks for {len(clips)} clips of {spec.name}, got {len(points)}")
        feed["landmarks"] = np.stack(points).astype(np.float32)
    return feed
