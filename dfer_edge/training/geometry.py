"""Where the crop of a clip lies in training: drawn as the recipe says. Validation cuts as inference does.

A crop is an affine map from frame pixels to crop pixels, so frames, landmarks and a flip stay together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.faces.geometry import face_frame, roll
from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.training.recipes import Crop
from dfer_edge.types import Box, Image, Points

Generator = np.random.Generator
Matrix = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Region:
    """A crop in one frame: centre (x, y) and sides in frame pixels, rotation in degrees.

    Pixel edges count: a frame of W pixels reaches from 0 to W.
    """

    x: float
    y: float
    width: float
    height: float
    rotation_deg: float = 0.0

    def matrix(self, size: int, flip: bool = False) -> Matrix:
        """[2, 3] map of frame pixels (centres at integers) to the pixels of a crop of side ``size``."""
        angle = np.deg2rad(self.rotation_deg)
        turn = np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        scale = np.diag([size / self.width, size / self.height])
        linear = np.diag([-1.0 if flip else 1.0, 1.0]) @ scale @ turn
        # The centre of the region, in pixel centres, goes to the centre of the crop.
        offset = (size - 1) / 2 - linear @ np.asarray([self.x - 0.5, self.y - 0.5])
        return np.column_stack([linear, offset])


def face_scale(points: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Middle between eyes and mouth [T, 2] and s [T] of landmarks [T, 68, 2], in pixels.

    As the renderer frames a face (:func:`dfer_edge.faces.aligned.face_frame`), s at least a pixel.
    """
    middle, scale = face_frame(points.astype(np.float64))
    return middle, np.maximum(scale, 1.0)


def draw_regions(
    crop: Crop, faces: Sequence[Box], share: float, landmarks: Points | None, rng: Generator
) -> list[Region]:
    """A region for each frame within its face crop, all of the frame where frames are crops; drawn once a clip.

    Crops that differ from frame to frame, around a face that moves, share the place within them. ``share`` is the
    spec's ``crop_share``, the side of the crop where the recipe resizes and crops.
    """
    angle = float(rng.uniform(*crop.rotation_deg))
    if crop.rotation_choices:
        angle = float(rng.choice(crop.rotation_choices) * rng.choice((-1.0, 1.0)))
    if crop.around == "landmarks" and landmarks is not None:
        return _around_points(crop, landmarks, angle, rng)
    height, width = faces[0].height, faces[0].width
    if crop.around == "resize":
        wide = tall = min(height, width) * share
    else:
        area = rng.uniform(*crop.area) * height * width
        aspect = float(np.exp(rng.uniform(*np.log(crop.aspect)))) * width / height
        wide, tall = min(width, np.sqrt(area * aspect)), min(height, np.sqrt(area / aspect))
    x, y = rng.uniform(wide / 2, width - wide / 2), rng.uniform(tall / 2, height - tall / 2)
    scales = [(face.width / width, face.height / height) for face in faces]
    return [
        Region(float(face.left + x * a), float(face.top + y * b), float(wide * a), float(tall * b), angle)
        for face, (a, b) in zip(faces, scales, strict=True)
    ]


def _around_points(crop: Crop, landmarks: Points, angle: float, rng: Generator) -> list[Region]:
    middle, scale = face_scale(landmarks)
    follow = rng.uniform(*crop.follow)
    centres = follow * middle + (1 - follow) * middle.mean(0)
    scales = follow * scale + (1 - follow) * scale.mean()
    side, shift = rng.uniform(*crop.side), np.asarray(crop.centre) + rng.normal(0, crop.shift_sd)
    where = centres + scales[:, None] * shift + 0.5
    return [
        Region(float(x), float(y), float(side * s), float(side * s), angle)
        for (x, y), s in zip(where, scales, strict=True)
    ]


def levelled(regions: Sequence[Region], landmarks: Points | None) -> list[Region]:
    """Regions turned with the face about its middle, each by the roll of its landmarks, as a levelled spec crops.

    A rotation that was drawn stays on top.
    """
    if landmarks is None:
        return list(regions)
    middles, _ = face_scale(landmarks)
    turned = []
    for region, points, (x, y) in zip(regions, landmarks, middles + 0.5, strict=True):
        if np.isnan(points).any():
            turned.append(region)
            continue
        angle = roll(points)
        right, down = region.x - x, region.y - y
        place = (x + right * np.cos(angle) - down * np.sin(angle), y + right * np.sin(angle) + down * np.cos(angle))
        degrees = region.rotation_deg + float(np.rad2deg(angle))
        turned.append(dataclasses.replace(region, x=float(place[0]), y=float(place[1]), rotation_deg=degrees))
    return turned


def cut(image: Image, region: Region, size: int, flip: bool, down: int, up: int) -> Image:
    """The crop of a region, uint8 [size, size, 3].

    First at the frame's own resolution, as turned and placed, then resampled to ``size`` with filter ``up``, or
    ``down`` (OpenCV's constants) if that is smaller. Pixels outside of the frame repeat its edge.
    """
    own = int(np.clip(round(max(region.width, region.height)), 8, 4 * size))
    matrix = region.matrix(own, flip)
    patch = cv2.warpAffine(image, matrix, (own, own), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if own == size:
        return np.asarray(patch, np.uint8)
    return np.asarray(cv2.resize(patch, (size, size), interpolation=down if own > size else up), np.uint8)


def move_points(points: Points, matrix: Matrix, flip: bool) -> Points:
    """Landmarks [68, 2] in crop pixels; a flipped face's left points are its right ones."""
    moved = points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return (moved[list(MIRROR_POINTS)] if flip else moved).astype(np.float32)
