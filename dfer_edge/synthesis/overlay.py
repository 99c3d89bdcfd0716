"""What happens between face and camera: a hand or an object in front, a patch of light or shade, motion blur."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SHORTEST_BLUR_PX = 0.8


@dataclass(frozen=True)
class Occluder:
    """Capsules (fingers, a cup, a scarf) that keep their place relative to the face.

    Attributes
    ----------
    ends
        float [N, 2, 2]: ends of each capsule, x, y in shares of the view from its centre.
    radius
        Share of the view.
    colour
        Linear RGB [3].
    """

    ends: np.ndarray
    radius: float
    colour: np.ndarray

    def draw(self, linear: np.ndarray, shift_px: np.ndarray, brightness: float) -> None:
        """Paint over linear RGB times coverage and coverage [S, S, 4], in place."""
        size = linear.shape[0]
        points = np.round(((self.ends + 0.5) * size + shift_px) * 8).astype(np.int32)
        cover = np.zeros((size, size), np.float32)
        core = np.zeros_like(cover)
        for start, end in points:
            one, other = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
            cv2.line(cover, one, other, 1.0, max(1, round(2 * self.radius * size)), cv2.LINE_AA, 3)
            cv2.line(core, one, other, 1.0, max(1, round(self.radius * size)), cv2.LINE_AA, 3)
        # Rounder than flat: the middle of a finger faces the light.
        shade = 0.55 + 0.45 * cv2.GaussianBlur(core, (0, 0), max(0.6, 0.4 * self.radius * size))
        painted = np.empty_like(linear)
        painted[..., :3] = (self.colour * brightness).astype(np.float32) * shade[..., None]
        painted[..., 3] = 1.0
        linear += cover[..., None] * (painted - linear)


def draw_occluder(rng: np.random.Generator, skin: np.ndarray) -> Occluder | None:
    """Draw what hides a part of the face, for one clip in sixteen."""
    if rng.random() > 1 / 16:
        return None
    angle = rng.uniform(-0.3, np.pi + 0.3)  # from below and the sides, seldom from above
    place = rng.uniform(0.22, 0.42) * np.array([np.cos(angle), np.sin(angle)])
    if rng.random() < 0.7:  # fingers
        lean = rng.normal(0, 0.3)
        along = np.array([np.cos(angle + lean), np.sin(angle + lean)])
        across = np.array([-along[1], along[0]])
        radius = rng.uniform(0.03, 0.05)
        tips = [
            place + across * radius * 2.1 * k - along * rng.uniform(0.0, 0.06) for k in range(int(rng.integers(2, 5)))
        ]
        return Occluder(np.array([[tip, tip + along * 0.6] for tip in tips]), radius, skin * rng.uniform(0.7, 1.1))
    reach = rng.normal(0.0, 0.15, 2)
    colour = rng.uniform(0.02, 0.6) * np.clip(np.exp(rng.normal(0, 0.4, 3)), 0.3, 2.0)
    return Occluder(np.array([[place, place + reach]]), rng.uniform(0.04, 0.1), np.clip(colour, 0.01, 0.9))


def light_patch(rng: np.random.Generator, size: int) -> np.ndarray | None:
    """A shadow's edge across the view, as through a window, for one clip in ten; float32 [S, S, 1] factors."""
    if rng.random() > 0.1:
        return None
    rows, columns = (np.mgrid[:size, :size] / size - 0.5).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    distance = columns * np.cos(angle) + rows * np.sin(angle) + rng.normal(0, 0.2)
    edge = 1.0 / (1.0 + np.exp(np.clip(-distance * rng.uniform(8, 60), -30, 30)))
    return np.asarray(1.0 - rng.uniform(0.2, 0.6) * edge, np.float32)[..., None]


def motion_blur(linear: np.ndarray, move_px: np.ndarray) -> np.ndarray:
    """Smear along the way that the face goes while the shutter is open; below 0.8 pixels unchanged."""
    length = float(np.hypot(*move_px))
    if length < _SHORTEST_BLUR_PX:
        return linear
    reach = min(int(np.ceil(length / 2)), 12)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    half = move_px * min(1.0, 2.0 * reach / length) / 2 * 16
    middle = np.array([reach, reach]) * 16
    start, end = np.round(middle - half).astype(int), np.round(middle + half).astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(
        cv2.filter2D(linear, -1, kernel / max(float(kernel.sum()), 1e-6), borderType=cv2.BORDER_REPLICATE)
    )
