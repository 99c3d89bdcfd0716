"""The one preprocessing: from a face box to the array that a network reads.

Size, mean, std and margin come from the model's :class:`~dfer_edge.spec.ModelSpec`; the resampling rule lives in
:mod:`dfer_edge.kernels.clip_to_tensor`. Training, calibration, every engine and evaluation call these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import lbp
from dfer_edge.kernels.clip_to_tensor import crop_resize, normalise
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Clip, Image, Points


def square(box: Box, margin: float) -> Box:
    """Square around the centre of ``box``, its side ``margin`` times the box's longer side."""
    half = max(box.width, box.height) * margin / 2
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return Box(x - half, y - half, x + half, y + half)


def frame_box(image: Image) -> Box:
    """All of a frame [H, W, 3]."""
    return Box(0, 0, image.shape[1], image.shape[0])


def region(box: Box, spec: ModelSpec, cropped: bool = False) -> Box:
    """What the network reads around a face box; ``cropped``: of a face crop, whose extent ``box`` is."""
    if not cropped:
        return square(box, spec.face_margin * spec.crop_share)
    if spec.crop_share == 1:
        return box
    return square(box, spec.crop_share * min(box.width, box.height) / max(box.width, box.height))


def in_pixels_of(crops: Image, spec: ModelSpec) -> Image:
    """RGB crops [..., S, S, 3] as the network reads them: as they are, or as their local binary patterns."""
    if spec.pixels == "rgb":
        return crops
    codes = np.asarray(lbp(crops), np.uint8)
    return np.repeat(codes[..., None], 3, axis=-1)


def face_crop(image: Image, box: Box, spec: ModelSpec) -> Image:
    """The crop [S, S, 3] of a face in an RGB frame [H, W, 3]."""
    return crop_resize(image, region(box, spec), spec.size)


def whole_frame(image: Image, spec: ModelSpec) -> Image:
    """What is read of a frame that is a face crop already, resampled to [S, S, 3]; its sides may differ."""
    return crop_resize(image, region(frame_box(image), spec, cropped=True), spec.size)


def inside_crop(spec: ModelSpec) -> Box:
    """Where the face box lies in a crop [S, S, 3] of ours; crops from elsewhere are taken to be alike."""
    return square(Box(0, 0, spec.size, spec.size), 1 / (spec.face_margin * spec.crop_share))


def points_in_crop(points: Points, region: Box, size: int) -> Points:
    """Points [68, 2] in frame pixels to pixels of the crop of ``region`` resampled to ``size``."""
    left, top, right, bottom = region.rounded()
    scale = np.asarray([size / (right - left), size / (bottom - top)])
    # Pixel centres, not corners, map onto each other: +0.5 before and -0.5 after.
    moved = (np.asarray(points, np.float64) + 0.5 - (left, top)) * scale - 0.5
    return np.asarray(moved, np.float32)


def points_in_frame(points: Points, region: Box, size: int) -> Points:
    """Inverse of :func:`points_in_crop`."""
    left, top, right, bottom = region.rounded()
    scale = np.asarray([(right - left) / size, (bottom - top) / size])
    return np.asarray((np.asarray(points, np.float64) + 0.5) * scale + (left, top) - 0.5, np.float32)


def box_in_crop(box: Box, region: Box, size: int) -> Box:
    """A box in frame pixels to pixels of the crop of ``region`` resampled to ``size``."""
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
