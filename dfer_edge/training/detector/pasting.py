"""An image under way: cut-outs are turned, laid over it, and faces below them hidden."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from dfer_edge.training.detector.sprites import SIZE, Sprites
from dfer_edge.training.detector.worn import Head

# Height of YuNet's box, in heights of the points' bounding box, and how far its middle lies lower: medians on renders.
_HEIGHT, _DOWN = 0.94, 0.004
# Faces are wider or narrower than the face model's, children's above all.
_STRETCH = 0.09


@dataclass
class Scene:
    """An image under way: float32 [S, S] 0 to 255, and what is in it."""

    image: np.ndarray
    boxes: list[np.ndarray] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def hide(self, left: int, top: int, cover: np.ndarray) -> None:
        """Faces below a newly pasted patch are no longer asked for if it hides most of them."""
        for index, box in enumerate(self.boxes):
            x0, y0 = max(left, int(box[0])), max(top, int(box[1]))
            x1, y1 = min(left + cover.shape[1], int(box[2])), min(top + cover.shape[0], int(box[3]))
            if x1 <= x0 or y1 <= y0:
                continue
            hidden = float(cover[y0 - top : y1 - top, x0 - left : x1 - left].sum()) / 255.0
            share = hidden / float((box[2] - box[0]) * (box[3] - box[1]))
            if share > 0.4:
                self.kinds[index] = -1 if share < 0.8 else 0


def five(points: np.ndarray) -> np.ndarray:
    """Middles of the eyes, tip of the nose and corners of the mouth, the image's left first, of 68 points."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def cut_out(sprites: Sprites, index: int, extent: float) -> Head:
    """A sprite shrunk so that its face has a size; its lower edge is drawn out, for bodies do not end there."""
    points = sprites.points[index]
    own = Head(sprites.grey[index], sprites.cover[index], points).extent
    scale = min(extent / own, 2.4)
    grey, cover = sprites.sized(index, scale)
    return Head(grey, cover, (points + 0.5) * (len(grey) / SIZE) - 0.5)


def paste(
    rng: np.random.Generator, scene: Scene, head: Head, centre: np.ndarray, roll: float, pivot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a cut-out turned about ``pivot``, which comes to lie at ``centre``; box of its points, and five points."""
    body = head.grey.shape[0] // 2
    grey, cover = (cv2.copyMakeBorder(a, 0, body, 0, 0, cv2.BORDER_REPLICATE) for a in (head.grey, head.cover))
    turn = cv2.getRotationMatrix2D((float(pivot[0]), float(pivot[1])), roll, 1.0)
    stretch = np.exp(rng.normal(0.0, _STRETCH))
    turn = np.concatenate([turn[:, :2] * (stretch**0.5, stretch**-0.5), np.zeros((2, 1))], axis=1)
    turn[:, 2] = pivot - turn[:, :2] @ pivot
    turn[:, 2] += centre - pivot
    corners = np.array([[0, 0], [grey.shape[1], 0], [0, grey.shape[0]], grey.shape[::-1]], np.float64)
    moved = corners @ turn[:, :2].T + turn[:, 2]
    low = np.maximum(np.floor(moved.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(moved.max(0)).astype(int) + 1, scene.image.shape[0])
    points = head.points @ turn[:, :2].T + turn[:, 2] + 0.5
    outline = _outline(head.points) @ turn[:, :2].T + turn[:, 2] + 0.5
    if (high > low).all():
        local = turn.copy()
        local[:, 2] -= low
        target = (int(high[0] - low[0]), int(high[1] - low[1]))
        grey, cover = (cv2.warpAffine(a, local, target, flags=cv2.INTER_LINEAR) for a in (grey, cover))
        blend(rng, scene, int(low[0]), int(low[1]), grey, cover)
    return np.concatenate([outline.min(0), outline.max(0)]), five(points)


def _outline(points: np.ndarray) -> np.ndarray:
    """Points of a face, their height brought to that of the detectors' boxes."""
    low, high = points[:, 1].min(), points[:, 1].max()
    middle = (low + high) / 2
    rows = middle + (points[:, 1] - middle) * _HEIGHT + _DOWN * (high - low)
    return np.stack([points[:, 0], rows], axis=1)


def blend(rng: np.random.Generator, scene: Scene, left: int, top: int, grey: np.ndarray, cover: np.ndarray) -> None:
    """Lay a patch over the image, its tone varied and its edge softened; faces and things are treated alike."""
    if rng.random() < 0.35:
        sigma = rng.uniform(0.3, 1.0)
        grey, cover = (cv2.GaussianBlur(a, (0, 0), sigma) for a in (grey, cover))
    share = cover / np.float32(255)
    gain, lift = np.exp(rng.normal(0.0, 0.25)), rng.normal(0.0, 15.0)
    patch = np.clip(grey * np.float32(gain) + np.float32(lift) * share, 0, cover)
    region = scene.image[top : top + grey.shape[0], left : left + grey.shape[1]]
    region += patch - region * share
    scene.hide(left, top, cover)
