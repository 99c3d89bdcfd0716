"""What paper 002 adds in training only: the guidance mask on the image and the class weights of the loss.

Arabian et al., Appl. Sci. 2023, 13, 10179; models.md section 3. Imports no torch, so data loaders can make masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput

if TYPE_CHECKING:
    import torch

Mask = npt.NDArray[np.float32]

# What is left of the image outside brows, eyes and mouth; inside, the factor is 1 more.
OUTSIDE = 0.125

# (left, top, right, bottom) as fractions of the crop's side: brow and eye of either side, mouth. The paper does not
# give the mask's shape. These boxes hold the 10th to 90th percentile of the landmarks of 45 upright portraits in crops
# of 1.1 times the face box; they mirror onto themselves, so a flipped image needs no other mask.
TEMPLATE = ((0.16, 0.20, 0.45, 0.43), (0.55, 0.20, 0.84, 0.43), (0.32, 0.63, 0.68, 0.85))

# First and last index of each group in the 68-point order: brows, eyes, outer contour of the lips.
LANDMARK_GROUPS = ((17, 21), (22, 26), (36, 41), (42, 47), (48, 59))


def template_mask(size: int) -> Mask:
    """The fixed mask M of an aligned crop: float32 [size, size], 1 on brows, eyes and mouth, else 0.

    A pixel belongs to a region if its centre does.
    """
    centres = (np.arange(size) + 0.5) / size
    mask = np.zeros((size, size), np.float32)
    for left, top, right, bottom in TEMPLATE:
        rows, columns = (centres >= top) & (centres <= bottom), (centres >= left) & (centres <= right)
        mask[np.ix_(rows, columns)] = 1
    return mask


def hull_mask(landmarks: npt.ArrayLike, size: int, margin: float = 0.02) -> Mask:
    """The mask M of one face: the convex hulls of its landmark groups, grown by a margin.

    Parameters
    ----------
    landmarks
        [68, 2], x then y in pixels of the crop; points may lie outside of it.
    size
        Side of the square crop in pixels.
    margin
        Growth of the hulls as a fraction of the side: brow points lie on a line, the brow around it does not.

    Returns
    -------
    float32 [size, size], 1 inside, 0 outside.

    Raises
    ------
    InvalidInput
        If the landmarks are not 68 finite points.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise InvalidInput(f"expected 68 finite points [68, 2], got shape {points.shape}")
    grow = round(margin * size)
    mask = np.zeros((size, size), np.uint8)
    for first, last in LANDMARK_GROUPS:
        hull = cv2.convexHull(np.rint(points[first : last + 1]).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1)
        if grow:
            cv2.polylines(mask, [hull], isClosed=True, color=1, thickness=2 * grow)
    return mask.astype(np.float32)


def guide(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """I (M + 0.125): full contrast on brows, eyes and mouth, an eighth elsewhere.

    Parameters
    ----------
    image
        [B, 3, H, W], zero-centred, so that what is weakened fades to the mean colour.
    mask
        Broadcasts to [B, 1, H, W]; 0 or 1.
    """
    return image * (mask + OUTSIDE)


def class_weights(counts: Sequence[int]) -> npt.NDArray[np.float64]:
    """N / (m s_c): float64 weights of the cross-entropy that give each of the m classes the same total.

    Parameters
    ----------
    counts
        Training images s_c of each class, in label order; N is their sum.

    Raises
    ------
    InvalidInput
        If there are fewer than two classes, or a class without images, whose weight would be infinite.
    """
    images = np.asarray(counts, np.float64)
    if images.ndim != 1 or len(images) < 2 or not (images >= 1).all():
        raise InvalidInput(f"expected at least one image of each of two or more classes, got counts {list(counts)}")
    weights: npt.NDArray[np.float64] = images.sum() / (len(images) * images)
    return weights
