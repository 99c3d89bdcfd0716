"""Training crops: renders as a detector's box cuts them, turned, stretched, mirrored; and places without a face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.training.landmarks.degrade import degraded, scrambled, wear_mask
from dfer_edge.training.landmarks.network import SIZE

# In use: side of the crop and how far it is moved down, in units of the longer side of the detector's box.
MARGIN, DOWN = 0.85, 0.01
# iBUG numbers of a mirrored face.
MIRROR = np.array(MIRROR_POINTS)


@dataclass(frozen=True)
class Jitter:
    """Spread of crops about the detector's mean box.

    Attributes
    ----------
    scale
        Standard deviation of the logarithm of the side.
    shift
        Standard deviation of the centre, as a share of the side.
    turn_rad
        Standard deviation of a turn in the image plane; a fifth of the crops turn by up to 0.8 either way instead.
    stretch
        Standard deviation of the logarithm of width over height, and of a shear.
    empty
        Share of crops without a face.
    mask
        Share of faces that wear a mask.
    """

    scale: float = 0.13
    shift: float = 0.06
    turn_rad: float = 0.2
    stretch: float = 0.06
    empty: float = 0.1
    mask: float = 0.06


@dataclass(frozen=True)
class Framing:
    """Where crops lie in training, where YuNet's boxes about renders are smaller than about photographs.

    Attributes
    ----------
    size
        Pixels of a side.
    margin, down
        Side and how far it is moved down, in units of the longer side of the detector's box.
    """

    size: int = SIZE
    margin: float = 0.95
    down: float = 0.0


FRAMING = Framing()


def training_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    points: np.ndarray,
    box: np.ndarray,
    jitter: Jitter,
    framing: Framing = FRAMING,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """One crop of a render.

    Parameters
    ----------
    image
        Grey levels, uint8 [S, S].
    points
        [68 + N, 2] in pixels of it, centres at whole numbers: iBUG's, then others that have no mirror image.
    box
        Centre x, y and longer side of a detector's box, in pixels.

    Returns
    -------
    Grey levels float32 [size, size], points [68 + N, 2] as shares of the crop's side (the others NaN in mirrored
    crops), and whether there is a face.
    """
    size = framing.size
    side = framing.margin * float(box[2]) * float(np.exp(rng.normal(0.0, jitter.scale)))
    centre = box[:2] + (0.0, framing.down * float(box[2])) + rng.normal(0.0, jitter.shift, 2) * side
    angle = float(np.clip(rng.normal(0.0, jitter.turn_rad), -0.8, 0.8))
    if rng.random() < 0.2 and jitter.turn_rad > 0:
        angle = float(rng.uniform(-0.8, 0.8))
    kind = rng.random() / max(jitter.empty, 1e-9)
    face = bool(kind >= 1)
    if not face and kind < 0.7:
        side, centre = _elsewhere(rng, side, centre, image.shape[0])
    elif not face and kind < 0.85:
        angle += float(rng.uniform(2.1, 4.2))
    matrix = _matrix(centre, size / side, angle, rng.normal(0.0, jitter.stretch, 2), mirrored=bool(rng.random() < 0.5))
    matrix[:, 2] += (size - 1) / 2
    if face and rng.random() < jitter.mask:
        image = wear_mask(rng, image, points[:68])
    # Renders are hardly larger than crops: no need to average before they are sampled.
    grey = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if not face and kind >= 0.85:
        grey = scrambled(rng, grey)
    moved = (points @ matrix[:, :2].T + matrix[:, 2] + 0.5) / size
    if np.linalg.det(matrix[:, :2]) < 0:
        moved[:68] = moved[MIRROR]
        moved[68:] = np.nan
    return degraded(rng, grey.astype(np.float32)), moved.astype(np.float32), face


def _elsewhere(rng: np.random.Generator, side: float, centre: np.ndarray, size: int) -> tuple[float, np.ndarray]:
    """A part of the image that holds less than a face: beside it, or a tenth to a third of it."""
    if rng.random() < 0.6:
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2)
        return side * rng.uniform(0.3, 0.9), centre + away * side * np.array([np.cos(angle), np.sin(angle)])
    return side * rng.uniform(0.1, 0.33), rng.uniform(0.0, size, 2)


def _matrix(centre: np.ndarray, scale: float, angle: float, stretch: np.ndarray, mirrored: bool) -> np.ndarray:
    """Affine map of image pixels to crop pixels counted from its middle; [2, 3]."""
    wide, shear = np.exp(stretch[0] / 2), 0.7 * stretch[1]
    shape = np.array([[wide, shear], [0.0, 1 / wide]])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ shape
    if mirrored:
        turn = np.diag([-1.0, 1.0]) @ turn
    return np.concatenate([turn, -(turn @ np.asarray(centre, np.float64))[:, None]], axis=1)
