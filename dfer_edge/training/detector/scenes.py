"""Training images, made on the fly: heads and things pasted on pictures, then seen through a bad camera."""

from __future__ import annotations

import numpy as np

from dfer_edge.training.detector import negatives, worn
from dfer_edge.training.detector.backgrounds import background
from dfer_edge.training.detector.camera import seen
from dfer_edge.training.detector.pasting import Scene, cut_out, paste
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.sprites import AWAY_RAD, Sprites
from dfer_edge.training.detector.worn import Head

SMALLEST = 9.0
MOST = 32
# Share of a face's box that must be in the image and not behind others: below the first the place is not asked.
_SEEN_LEAST = 0.5
_UPRIGHT_DEG, _LYING_DEG = 66.0, 115.0


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


def draw_roll(rng: np.random.Generator) -> float:
    """Roll of a head, degrees; few lie or hang."""
    kind = rng.random()
    if kind < 0.62:
        return float(rng.normal(0.0, 10.0))
    if kind < 0.95:
        return float(rng.uniform(-_UPRIGHT_DEG, _UPRIGHT_DEG))
    return float(rng.uniform(_UPRIGHT_DEG, 360.0 - _UPRIGHT_DEG))


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
