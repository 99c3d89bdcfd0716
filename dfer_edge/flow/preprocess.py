"""The one preprocessing: from a face box to the array that a network reads.

Size, mean, std and margin come from the model's :class:`~dfer_edge.spec.ModelSpec`; the resampling rule lives in
:mod:`dfer_edge.kernels.clip_to_tensor`. Training, calibration, every engine and evaluation call these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.faces.geometry import ABOVE, HEIGHT, WIDTH, box_of, face_frame, roll
from dfer_edge.faces.regions import (
    Region,
    box_in_crop,
    cut,
    frame_box,
    points_in_crop,
    points_in_frame,
    square,
)
from dfer_edge.kernels import lbp
from dfer_edge.kernels.clip_to_tensor import normalise
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Clip, Image, Points

__all__ = [
    "Region",
    "box_in_crop",
    "cut",
    "face_crop",
    "frame_box",
    "in_pixels_of",
    "inside_crop",
    "points_in_crop",
    "points_in_frame",
    "region",
    "square",
    "to_feed",
    "whole_frame",
]

# A box that overlaps that of the points by less was laid by something else.
_LAID_IOU = 0.9


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


def to_feed(clips: Sequence[Clip], spec: ModelSpec, of_pixels: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Engine inputs of a batch of clips, normalised.

    Returns ``clip`` [B, 3, T, S, S] for clip networks, ``image`` [B*T, 3, S, S] for image networks, and ``landmarks``
    [B, T, 68, 2] in pixels of the crops, x then y, for networks that take them. With ``of_pixels``, for engines that
    take pixels, uint8 crops: ``clip`` [B, T, S, S, 3] or ``image`` [B*T, S, S, 3].

    Raises
    ------
    InvalidInput
        If the network takes landmarks and a clip has none.
    """
    crops = [in_pixels_of(clip.frames, spec) for clip in clips]
    feed: dict[str, npt.NDArray[Any]] = {}
    if of_pixels:
        if spec.input == "image":
            return {"image": np.concatenate(crops)}
        feed["clip"] = np.stack(crops)
    else:
        arrays = np.stack([normalise(crop, spec) for crop in crops])
        if spec.input == "image":
            return {"image": np.ascontiguousarray(arrays.transpose(0, 2, 1, 3, 4)).reshape(-1, *spec.input_shape)}
        feed["clip"] = arrays
    if spec.landmarks:
        points = [clip.landmarks for clip in clips if clip.landmarks is not None]
        if len(points) != len(clips):
            raise InvalidInput(f"expected landmarks for {len(clips)} clips of {spec.name}, got {len(points)}")
        feed["landmarks"] = np.stack(points).astype(np.float32)
    return feed
