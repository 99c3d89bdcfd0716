"""Training crops: renders as a detector's box cuts them, turned, mirrored and degraded; and places without a face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.faces.aligned import face_frame
from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.training.landmarks.network import SIZE

# Crops as the detector cuts them: side and place in units of s, the root mean square of eye distance and eye-mouth
# distance, about the middle between eyes and mouth. YuNet's longer side is 2.85 s (spread 0.23 s), 0.16 s above it.
BOX_SIDE, BOX_UP = 2.85, 0.16
MARGIN, DOWN = 0.88, 0.01
_SIDE = BOX_SIDE * MARGIN
_RISE = BOX_UP - DOWN * BOX_SIDE

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
        Standard deviation of a turn in the image plane.
    empty
        Share of crops without a face.
    """

    scale: float = 0.11
    shift: float = 0.055
    turn_rad: float = 0.17
    empty: float = 0.06


def training_crop(
    rng: np.random.Generator, image: np.ndarray, points: np.ndarray, jitter: Jitter
) -> tuple[np.ndarray, np.ndarray, bool]:
    """One crop of a render.

    Parameters
    ----------
    image
        Grey levels, uint8 [S, S].
    points
        [68, 2] in pixels of it, centres at whole numbers.

    Returns
    -------
    Grey levels float32 [64, 64], points [68, 2] as shares of the crop's side, and whether there is a face.
    """
    face = bool(rng.random() >= jitter.empty)
    middle, s = face_frame(points)
    side = _SIDE * float(s) * float(np.exp(rng.normal(0.0, jitter.scale)))
    centre = middle - (0.0, _RISE * s) + rng.normal(0.0, jitter.shift, 2) * side
    angle = float(np.clip(rng.normal(0.0, jitter.turn_rad), -0.6, 0.6))
    if not face:
        side, centre = _elsewhere(rng, side, centre, image.shape[0])
    matrix = _matrix(centre, side, angle, mirrored=bool(rng.random() < 0.5))
    grey = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = (points @ matrix[:, :2].T + matrix[:, 2] + 0.5) / SIZE
    if matrix[0, 0] * matrix[1, 1] < 0:
        moved = moved[MIRROR]
    return _degraded(rng, grey.astype(np.float32)), moved.astype(np.float32), face


def _elsewhere(rng: np.random.Generator, side: float, centre: np.ndarray, size: int) -> tuple[float, np.ndarray]:
    """A part of the image that holds less than a face: beside it, or a tenth to a third of it."""
    if rng.random() < 0.6:
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.2)
        return side * rng.uniform(0.3, 0.9), centre + away * side * np.array([np.cos(angle), np.sin(angle)])
    return side * rng.uniform(0.1, 0.33), rng.uniform(0.0, size, 2)


def _matrix(centre: np.ndarray, side: float, angle: float, mirrored: bool) -> np.ndarray:
    """Affine map of image pixels to crop pixels, centres at whole numbers on both sides; [2, 3]."""
    scale = SIZE / side
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = np.diag([-1.0, 1.0]) @ turn
    offset = (SIZE - 1) / 2 - turn @ np.asarray(centre, np.float64)
    return np.concatenate([turn, offset[:, None]], axis=1)


def _degraded(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """Tone, cover, blur and noise of cameras; grey levels stay in 0 to 255."""
    if rng.random() < 0.3:
        _cover(rng, grey)
    kind = rng.random()
    if kind < 0.2:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.5))
    elif kind < 0.3:
        small = int(SIZE * rng.uniform(0.3, 0.8))
        grey = cv2.resize(cv2.resize(grey, (small, small), interpolation=cv2.INTER_AREA), (SIZE, SIZE))
    elif kind < 0.5:
        grey = grey + rng.uniform(0.2, 1.2) * (grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    if rng.random() < 0.5:
        grey = 255 * np.clip(grey / 255, 0, 1) ** np.float32(np.exp(rng.normal(0.0, 0.35)))
    grey = (grey - 110) * np.float32(np.exp(rng.normal(0.0, 0.25))) + np.float32(110 + rng.normal(0.0, 25.0))
    if rng.random() < 0.5:  # light from one side
        slope = rng.normal(0.0, 40.0, 2) / SIZE
        line = np.arange(SIZE, dtype=np.float32) - SIZE / 2
        grey = grey + np.float32(slope[0]) * line + np.float32(slope[1]) * line[:, None]
    if rng.random() < 0.3:
        grey = grey + rng.normal(0.0, rng.uniform(1, 8), grey.shape).astype(np.float32)
    return np.asarray(np.clip(grey, 0, 255), np.float32)


def _cover(rng: np.random.Generator, grey: np.ndarray) -> None:
    """Paint a patch, a bar or strands over a part of the crop: hands, microphones, hair."""
    tone = float(rng.uniform(0, 255))
    kind = rng.random()
    if kind < 0.5:
        x, y = (int(v) for v in rng.uniform(0, SIZE, 2))
        axes = tuple(int(v) for v in rng.uniform(3, 16, 2))
        cv2.ellipse(grey, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, tone, -1, cv2.LINE_AA)
        return
    for _ in range(1 if kind < 0.75 else rng.integers(3, 12)):
        ends = rng.uniform(-10, SIZE + 10, (2, 2)).astype(int)
        width = int(rng.uniform(2, 12)) if kind < 0.75 else 1
        cv2.line(grey, tuple(ends[0]), tuple(ends[1]), tone, width, cv2.LINE_AA)
