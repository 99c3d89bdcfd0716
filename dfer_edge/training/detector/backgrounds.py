"""What faces are pasted on: pieces of pictures, and what is drawn."""

from __future__ import annotations

import cv2
import numpy as np

from dfer_edge.synthesis.background import draw_background
from dfer_edge.training.detector.pictures import Pictures


def background(rng: np.random.Generator, pictures: Pictures, size: int) -> np.ndarray:
    """A crop of a picture at any scale, or something drawn; float32 [S, S]."""
    if rng.random() < 0.22:
        return drawn(rng, size)
    whole = pictures.backgrounds[int(rng.integers(len(pictures.backgrounds)))]
    side = float(np.exp(rng.uniform(np.log(60), np.log(min(whole.shape)))))
    x, y = (float(rng.uniform(0, length - side)) for length in whole.shape[::-1])
    crop = whole[int(y) : int(y + side) + 1, int(x) : int(x + side) + 1]
    shrinks = side > size
    out = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        out = np.rot90(out, int(rng.integers(4)))
    return np.ascontiguousarray(out, np.float32)


def drawn(rng: np.random.Generator, size: int) -> np.ndarray:
    """A background that is drawn; float32 [S, S]."""
    kind = rng.random()
    if kind < 0.7:
        return np.asarray(draw_background(rng, size).mean(axis=2) * 255, np.float32)
    return _pattern(rng, size)


def _pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """Stripes, dots, bricks or cloth."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    angle, pitch = rng.uniform(0, np.pi), float(np.exp(rng.uniform(np.log(4), np.log(60))))
    u = (columns * np.cos(angle) + rows * np.sin(angle)) * (2 * np.pi / pitch)
    v = (rows * np.cos(angle) - columns * np.sin(angle)) * (2 * np.pi / (pitch * rng.uniform(0.5, 2.0)))
    waves = (np.sin(u), np.sin(u) * np.sin(v), np.maximum(np.sin(u), np.sin(v)), np.sin(u + 2 * np.sin(v)))
    wave = waves[int(rng.integers(4))] * rng.uniform(0.5, 8.0)
    return np.asarray(rng.uniform(30, 220) + rng.uniform(10, 90) * np.clip(wave, -1, 1), np.float32)
