"""What hides parts of a face: masks, sunglasses, hats and hands, painted on a sprite before it is pasted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SHIFT = 3


@dataclass
class Head:
    """A sprite of working size: grey levels times coverage and coverage float32 [H, W] 0 to 255, points [73, 2]."""

    grey: np.ndarray
    cover: np.ndarray
    points: np.ndarray

    @property
    def extent(self) -> float:
        """Size of the face in pixels."""
        low, high = self.points.min(0), self.points.max(0)
        return float(np.sqrt(np.prod(high - low)))

    def blend(self, mask: np.ndarray, tone: np.ndarray | float) -> None:
        """Paint a tone where ``mask`` (0 to 1) says."""
        self.grey += mask * (tone - self.grey)
        self.cover += mask * (255.0 - self.cover)


def fixed(points: np.ndarray) -> np.ndarray:
    """Points in the fixed-point numbers of OpenCV's drawing, ``_SHIFT`` bits."""
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


def soft(layer: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; wide ones by way of a smaller picture."""
    factor = sigma / 1.5
    if factor < 2.0:
        return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma))
    small = tuple(max(2, round(length / factor)) for length in layer.shape[::-1])
    shrunk = cv2.GaussianBlur(cv2.resize(layer, small, interpolation=cv2.INTER_AREA), (0, 0), 1.4)
    return np.asarray(cv2.resize(shrunk, layer.shape[::-1], interpolation=cv2.INTER_LINEAR))


def polygon(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """A filled outline; float32 0 to 1."""
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [fixed(points)], 1.0, cv2.LINE_AA, _SHIFT)
    return mask


def _shaded(rng: np.random.Generator, head: Head, tone: float) -> np.ndarray:
    """A tone lit as the face below it is."""
    sigma = max(1.0, 0.08 * head.extent)
    light = soft(head.grey, sigma)
    mean = float(head.grey.sum() / max(1.0, head.cover.sum()) * 255.0) + 1.0
    shaded = tone * (0.55 + 0.45 * light / mean)
    texture = rng.normal(0.0, 1.0, (8, 8)).astype(np.float32)
    return shaded + rng.uniform(0, 10) * cv2.resize(texture, head.grey.shape[::-1], interpolation=cv2.INTER_CUBIC)


def mask(rng: np.random.Generator, head: Head) -> None:
    """A face mask from the nose to below the chin, at times a scarf."""
    p = head.points
    top = p[int(rng.choice((28, 29, 29, 30)))]
    first = int(rng.choice((1, 2, 3)))
    outline = np.concatenate([p[first : 17 - first], top[None]])
    middle = outline.mean(0)
    outline = middle + (outline - middle) * rng.uniform(1.0, 1.1)
    area = polygon(head.grey.shape, outline)
    tone = float(rng.uniform(10, 245))
    head.blend(area, _shaded(rng, head, tone))
    if rng.random() < 0.5:  # folds
        for share in np.linspace(0.3, 0.75, int(rng.integers(2, 4))):
            ends = [p[k] * (1 - share) + p[8] * share for k in (2, 14)]
            line = np.zeros_like(area)
            ends_fixed = fixed(np.array(ends))
            cv2.line(line, ends_fixed[0].tolist(), ends_fixed[1].tolist(), 1.0, 1, cv2.LINE_AA, _SHIFT)
            head.blend(line * area * 0.5, tone * rng.uniform(0.5, 0.9))


def sunglasses(rng: np.random.Generator, head: Head) -> None:
    """Dark lenses."""
    p = head.points
    tone, size, drop = float(rng.uniform(0, 60)), rng.uniform(0.75, 1.15), rng.uniform(0.0, 0.25)
    down = (p[33] - p[27]) / (np.linalg.norm(p[33] - p[27]) + 1e-6)
    for eye in (p[36:42], p[42:48]):
        width = float(np.linalg.norm(eye[3] - eye[0]))
        angle = float(np.degrees(np.arctan2(*(p[45] - p[36])[::-1])))
        lens = np.zeros_like(head.grey)
        centre = fixed(eye.mean(0) + down * drop * width)
        axes = fixed(np.array([width * size, 0.32 * float(np.linalg.norm(p[33] - p[27])) * size]))
        cv2.ellipse(lens, centre.tolist(), axes.tolist(), angle, 0, 360, 1.0, -1, cv2.LINE_AA, _SHIFT)
        head.blend(lens, tone + 40.0 * rng.random() * _gleam(lens.shape))
    bridge = np.zeros_like(head.grey)
    ends = fixed(np.stack([p[39], p[42]]))
    cv2.line(bridge, ends[0].tolist(), ends[1].tolist(), 1.0, max(1, int(0.03 * head.extent)), cv2.LINE_AA, _SHIFT)
    head.blend(bridge, tone)


def _gleam(shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.linspace(1.0, 0.0, shape[0], dtype=np.float32)[:, None] * np.ones(shape, np.float32))


def hat(rng: np.random.Generator, head: Head) -> None:
    """A cap, hat or hood's edge above the brows."""
    p = head.points
    up = p[70] - p[8]
    height = float(np.linalg.norm(up)) + 1e-6
    up, across = up / height, p[16] - p[0]
    width = max(float(np.linalg.norm(across)), 0.55 * height)
    across = np.array([-up[1], up[0]])
    base = p[70] - up * height * rng.uniform(0.0, 0.14) + across * float((p[[0, 16]].mean(0) - p[70]) @ across) * 0.5
    half, tall = width * rng.uniform(0.58, 0.75), height * rng.uniform(0.25, 0.55)
    turn = np.linspace(0.0, np.pi, 16)
    power = rng.uniform(0.35, 1.0)
    crown = base + np.outer(np.cos(turn) * half, across) + np.outer(np.sin(turn) ** power * tall, up)
    tone = float(rng.uniform(5, 250))
    head.blend(polygon(head.grey.shape, crown), _shaded(rng, head, tone))
    if rng.random() < 0.6:
        brim = half * rng.uniform(0.9, 1.6)
        thick = height * rng.uniform(0.03, 0.12)
        turn = np.linspace(0.0, 2 * np.pi, 20)
        edge = base + np.outer(np.cos(turn) * brim, across) + np.outer(np.sin(turn) * thick, up)
        head.blend(polygon(head.grey.shape, edge), _shaded(rng, head, tone * rng.uniform(0.4, 1.0)))


def hand(rng: np.random.Generator, head: Head) -> None:
    """Fingers on cheek, chin, mouth or brow, or a bar of some other tone."""
    p = head.points
    at = p[int(rng.choice((2, 4, 6, 8, 10, 12, 14, 48, 54, 57, 19, 24)))] + rng.normal(0, 0.05, 2) * head.extent
    away = at - p[30]
    angle = float(np.arctan2(away[1], away[0])) + rng.normal(0, 0.5)
    along = np.array([np.cos(angle), np.sin(angle)])
    skin = float(np.median(head.grey[tuple(np.clip(p[[29, 31, 35]].astype(int).T[::-1], 0, head.grey.shape[0] - 1))]))
    tone = skin * rng.uniform(0.7, 1.15) if rng.random() < 0.75 else float(rng.uniform(5, 250))
    fingers(rng, head, at, along, tone, head.extent)


def fingers(
    rng: np.random.Generator, head: Head, at: np.ndarray, along: np.ndarray, tone: float, extent: float
) -> None:
    """One to four round bars side by side that lead away from a place."""
    across = np.array([-along[1], along[0]])
    radius = extent * rng.uniform(0.05, 0.09)
    count = int(rng.integers(1, 5))
    for k in range(count):
        tip = at + across * radius * 2.0 * (k - count / 2) - along * extent * rng.uniform(0.0, 0.15)
        ends = fixed(np.stack([tip, tip + along * extent * rng.uniform(0.6, 1.3)]))
        whole, core = np.zeros_like(head.grey), np.zeros_like(head.grey)
        for layer, width in ((whole, 2.0 * radius), (core, 0.9 * radius)):
            cv2.line(layer, ends[0].tolist(), ends[1].tolist(), 1.0, max(1, round(width)), cv2.LINE_AA, _SHIFT)
        head.blend(whole, tone * (0.6 + 0.5 * soft(core, max(0.6, 0.4 * radius))))


def clothes(rng: np.random.Generator, head: Head, picture: np.ndarray) -> None:
    """A pattern, print or letters on what is below the neck."""
    p = head.points
    tall = float(np.linalg.norm(p[70] - p[8]))
    top = float(p[8, 1]) + tall * rng.uniform(0.25, 0.5)
    height, width = head.grey.shape
    if top > height - 3:
        return
    rows = np.clip((np.arange(height, dtype=np.float32) - top) / max(1.0, 0.05 * tall), 0, 1)[:, None]
    print_ = picture
    if rng.random() < 0.4:
        print_ = np.tile(picture[:: int(rng.integers(1, 5)), :: int(rng.integers(1, 5))], (2, 2))
    pattern = cv2.resize(np.ascontiguousarray(print_), (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.35:
        text = "".join(chr(int(code)) for code in rng.integers(48, 91, int(rng.integers(2, 7))))
        at = (int(width * rng.uniform(0.2, 0.5)), int(min(height - 2, top + tall * rng.uniform(0.2, 0.6))))
        size = tall / 90 * rng.uniform(0.5, 2.0)
        weight = max(1, round(tall / 40))
        cv2.putText(pattern, text, at, int(rng.integers(0, 8)), size, float(rng.uniform(0, 255)), weight, cv2.LINE_AA)
    light = soft(head.grey, max(1.0, 0.06 * tall)) / 128.0
    share = rows * (head.cover / 255) * np.float32(rng.uniform(0.4, 1.0))
    head.grey += share * (np.clip(pattern * light, 0, 255) - head.grey)
