"""Training images, made on the fly: heads and things pasted on pictures, then seen through a bad camera."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from dfer_edge.training.detector import negatives, worn
from dfer_edge.training.detector.camera import seen
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.sprites import AWAY_RAD, SIZE, Sprites
from dfer_edge.training.detector.worn import Head

SMALLEST = 9.0
MOST = 32
# Share of a face's box that must be in the image and not behind others: below the first the place is not asked.
_SEEN_LEAST = 0.5
_UPRIGHT_DEG, _LYING_DEG = 66.0, 115.0
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


def compose(
    rng: np.random.Generator, sprites: Sprites, pictures: Pictures, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One training image.

    Returns
    -------
    Grey levels uint8 [S, S], boxes float32 [N, 4], points float32 [N, 5, 2] (pixels, edges of the image at 0 and S) and
    kinds int64 [N]: 1 a face, -1 a place that is not asked.
    """
    scene = Scene(background(rng, pictures, size))
    kind = rng.random()
    for _ in range(int(rng.integers(0, 5)) if kind < 0.85 else int(rng.integers(2, 10))):
        negatives.add(rng, scene, sprites, pictures)
    if kind < 0.12:
        extents = rng.uniform(0.45, 1.0, 1) * size
    elif kind < 0.5:
        extents = np.exp(rng.uniform(np.log(SMALLEST), np.log(0.62 * size), int(rng.integers(1, 7))))
    elif kind < 0.72:
        low = rng.uniform(SMALLEST, 30.0)
        extents = rng.uniform(low, 2.2 * low, int(rng.integers(4, 18)))
    else:
        extents = np.zeros(0)
    for extent in np.sort(extents):
        place_head(rng, scene, sprites, pictures, float(extent))
    if 0.72 <= kind < 0.92:
        _rows(rng, scene, sprites, pictures)
    if len(scene.boxes) > 1 and rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 5))):
            negatives.hand(rng, scene, float(np.median([box[2] - box[0] for box in scene.boxes])))
    image, mirrored = seen(rng, scene.image), bool(rng.random() < 0.5)
    boxes = np.array(scene.boxes, np.float32).reshape(-1, 4)
    points = np.array(scene.points, np.float32).reshape(-1, 5, 2)
    if mirrored:
        image, boxes = image[:, ::-1], boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (size, 0, size, 0)
        points = points[:, [1, 0, 2, 4, 3]] * (-1, 1) + (size, 0)
    kinds = np.array(scene.kinds, np.int64)
    kept = np.flatnonzero(kinds != 0)[:MOST]
    return np.ascontiguousarray(image), boxes[kept], points[kept], kinds[kept]


def _rows(rng: np.random.Generator, scene: Scene, sprites: Sprites, pictures: Pictures) -> None:
    """An audience: rows of heads near each other, those in front lower, larger and over what is behind them."""
    size = scene.image.shape[0]
    extent, grows = float(np.exp(rng.uniform(np.log(11.0), np.log(46.0)))), rng.uniform(1.0, 1.2)
    across, down = rng.uniform(1.1, 2.2), rng.uniform(0.8, 2.0)
    y, left = rng.uniform(-extent, 0.6 * size), MOST
    while y < size + extent and left > 0:
        for x in np.arange(rng.uniform(-1.0, 0.5) * extent, size + 0.5 * extent, across * extent):
            if left > 0 and rng.random() < 0.85:
                centre = np.array([x, y]) + rng.normal(0.0, 0.22, 2) * extent
                place_head(rng, scene, sprites, pictures, extent * float(np.exp(rng.normal(0.0, 0.12))), centre)
                left -= 1
        y, extent = y + down * extent, extent * grows


def background(rng: np.random.Generator, pictures: Pictures, size: int) -> np.ndarray:
    """A crop of a picture at any scale, or something drawn; float32 [S, S]."""
    if rng.random() < 0.22:
        return negatives.drawn(rng, size)
    whole = pictures.backgrounds[int(rng.integers(len(pictures.backgrounds)))]
    side = float(np.exp(rng.uniform(np.log(60), np.log(min(whole.shape)))))
    x, y = (float(rng.uniform(0, length - side)) for length in whole.shape[::-1])
    crop = whole[int(y) : int(y + side) + 1, int(x) : int(x + side) + 1]
    shrinks = side > size
    out = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        out = np.rot90(out, int(rng.integers(4)))
    return np.ascontiguousarray(out, np.float32)


def draw_roll(rng: np.random.Generator) -> float:
    """Roll of a head, degrees; few lie or hang."""
    kind = rng.random()
    if kind < 0.62:
        return float(rng.normal(0.0, 10.0))
    if kind < 0.95:
        return float(rng.uniform(-_UPRIGHT_DEG, _UPRIGHT_DEG))
    return float(rng.uniform(_UPRIGHT_DEG, 360.0 - _UPRIGHT_DEG))


def cut_out(sprites: Sprites, index: int, extent: float) -> Head:
    """A sprite shrunk so that its face has a size; its lower edge is drawn out, for bodies do not end there."""
    points = sprites.points[index]
    own = Head(sprites.grey[index], sprites.cover[index], points).extent
    scale = min(extent / own, 2.4)
    grey, cover = sprites.sized(index, scale)
    return Head(grey, cover, (points + 0.5) * (len(grey) / SIZE) - 0.5)


def place_head(
    rng: np.random.Generator,
    scene: Scene,
    sprites: Sprites,
    pictures: Pictures,
    extent: float,
    centre: np.ndarray | None = None,
) -> None:
    """Paste a head of a size somewhere or at a place, dressed and turned."""
    size = scene.image.shape[0]
    index = int(rng.integers(len(sprites.grey)))
    head = cut_out(sprites, index, extent)
    yaw = abs(float(sprites.yaw[index]))
    away = AWAY_RAD < yaw < 2 * np.pi - AWAY_RAD
    if not away:
        dress(rng, head, yaw, background(rng, pictures, 64))
    spread = size * (0.5 if extent < 0.5 * size else 0.2)
    if centre is None:
        centre = size / 2 + rng.uniform(-1.0, 1.0, 2) * spread * 1.04
    roll = draw_roll(rng)
    box, points = paste(rng, scene, head, centre, roll, head.points.mean(0))
    kind = 1
    lying = abs((roll + 180.0) % 360.0 - 180.0)
    shown = np.clip(box, 0, size)
    part = np.prod(shown[2:] - shown[:2]) / np.prod(box[2:] - box[:2])
    if away or part < 0.05 or lying > _LYING_DEG:
        return
    if part < _SEEN_LEAST or lying > _UPRIGHT_DEG or extent < SMALLEST + 1.0:
        kind = -1
    scene.boxes.append(box)
    scene.points.append(points)
    scene.kinds.append(kind)


def dress(rng: np.random.Generator, head: Head, yaw: float, cloth: np.ndarray) -> None:
    """Put on what hides parts of a face, and clothes of some pattern."""
    if rng.random() < 0.16 and yaw < 1.3:
        worn.mask(rng, head)
    if rng.random() < 0.1 and yaw < 1.1:
        worn.sunglasses(rng, head)
    if rng.random() < 0.16:
        worn.hat(rng, head)
    if rng.random() < 0.14:
        worn.hand(rng, head)
    if rng.random() < 0.5:
        worn.clothes(rng, head, cloth)


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
