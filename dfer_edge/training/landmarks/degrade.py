"""What cameras and the world do to a crop of a face: covers, masks, tone, light, blur, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np

_MASK = (*range(2, 15), 28)  # iBUG points round a face mask: along the jaw, up to the bridge of the nose


def wear_mask(rng: np.random.Generator, image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The image uint8 [S, S] with a cloth mask over mouth and nose; points [68, 2] in pixels."""
    out = image.copy()
    first = int(rng.integers(1, 4))
    line = points[[*range(first, 17 - first), 28 + int(rng.integers(2))]]
    line = line + rng.normal(0.0, 0.01, line.shape) * np.ptp(points[:, 1])
    shade = rng.uniform(30, 245) + rng.normal(0.0, 12.0) * (np.arange(image.shape[0]) % 9 < 4)[:, None]
    cover = np.zeros(image.shape, np.uint8)
    cv2.fillPoly(cover, [np.round(line * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    weight = cover.astype(np.float32) / 255
    # Folds and light shine through.
    cloth = np.clip(shade + 0.35 * (image.astype(np.float32) - image.mean()), 0, 255)
    return np.asarray(out + weight * (cloth - out)).astype(np.uint8)


def scrambled(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """The crop [S, S] cut into four by four tiles in another order: parts of a face, no face."""
    tile = grey.shape[0] // 4
    tiles = grey.reshape(4, tile, 4, tile).swapaxes(1, 2).reshape(16, tile, tile)[rng.permutation(16)]
    return np.ascontiguousarray(tiles.reshape(4, 4, tile, tile).swapaxes(1, 2).reshape(grey.shape))


def degraded(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """Tone, cover, blur and noise of cameras on float32 [S, S]; grey levels stay in 0 to 255."""
    size = grey.shape[0]
    for _ in range(int(rng.choice(3, p=(0.65, 0.25, 0.1)))):
        _cover(rng, grey)
    grey = _blurred(rng, grey)
    if rng.random() < 0.5:
        grey = 255 * np.clip(grey / 255, 0, 1) ** np.float32(np.exp(rng.normal(0.0, 0.4)))
    grey = (grey - 110) * np.float32(np.exp(rng.normal(0.0, 0.3))) + np.float32(110 + rng.normal(0.0, 25.0))
    if rng.random() < 0.5:  # light from one side
        slope = rng.normal(0.0, 45.0, 2) / size
        line = np.arange(size, dtype=np.float32) - size / 2
        grey = grey + np.float32(slope[0]) * line + np.float32(slope[1]) * line[:, None]
    if rng.random() < 0.3:  # patches of light and dirt, which skin in renders has too little of
        cells = int(rng.integers(3, 12))
        cloud = rng.normal(0.0, rng.uniform(4, 22), (cells, cells)).astype(np.float32)
        grey = grey + cv2.resize(cloud, (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.35:
        grey = grey + rng.normal(0.0, rng.uniform(1, 11), grey.shape).astype(np.float32)
    grey = np.clip(grey, 0, 255)
    if rng.random() < 0.15:
        _, data = cv2.imencode(".jpg", grey.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 80))])
        grey = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    return np.asarray(grey, np.float32)


def _blurred(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    size, kind = grey.shape[0], rng.random()
    unit = size / 64
    if kind < 0.15:
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), unit * rng.uniform(0.4, 1.7)))
    if kind < 0.25:
        small = int(size * rng.uniform(0.25, 0.8))
        return np.asarray(cv2.resize(cv2.resize(grey, (small, small), interpolation=cv2.INTER_AREA), (size, size)))
    if kind < 0.33:  # motion
        length, angle = unit * rng.uniform(2.0, 8.0), rng.uniform(0, np.pi)
        kernel = np.zeros((13, 13), np.float32)
        half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        ends = np.round((6 + np.stack([-half, half])) * 16).astype(int)
        cv2.line(kernel, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1.0, 1, cv2.LINE_AA, 4)
        return np.asarray(cv2.filter2D(grey, -1, kernel / max(float(kernel.sum()), 1e-6)))
    if kind < 0.55:
        return np.asarray(grey + rng.uniform(0.2, 1.5) * (grey - cv2.GaussianBlur(grey, (0, 0), unit)))
    return grey


def _cover(rng: np.random.Generator, grey: np.ndarray) -> None:
    """Paint a patch, a bar, strands or noise over a part of the crop: hands, microphones, hair."""
    size, tone, kind = grey.shape[0], float(rng.uniform(0, 255)), rng.random()
    unit = size / 64
    if kind < 0.45:
        x, y = (int(v) for v in rng.uniform(0, size, 2))
        axes = tuple(int(v) for v in unit * rng.uniform(3, 17, 2))
        cv2.ellipse(grey, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, tone, -1, cv2.LINE_AA)
    elif kind < 0.6:
        side = (unit * rng.uniform(6, 22, 2)).astype(int)
        top, left = rng.integers(0, size - side[0]), rng.integers(0, size - side[1])
        patch = tone + rng.normal(0.0, 30.0, side)
        grey[top : top + side[0], left : left + side[1]] = np.clip(patch, 0, 255)
    else:
        for _ in range(1 if kind < 0.75 else int(rng.integers(3, 14))):
            ends = rng.uniform(-10, size + 10, (2, 2)).astype(int)
            width = int(unit * rng.uniform(2, 12)) if kind < 0.75 else int(rng.integers(1, 3))
            cv2.line(grey, tuple(map(int, ends[0])), tuple(map(int, ends[1])), tone, width, cv2.LINE_AA)
