"""What stands behind a face: plain walls, gradients, soft clouds of colour, shapes and lights out of focus."""

from __future__ import annotations

import cv2
import numpy as np


def _palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours of one place: one hue, muted mostly, in several lightnesses; sRGB [count, 3]."""
    hue = np.exp(rng.normal(0.0, 0.35 if rng.random() < 0.25 else 0.13, 3))
    base = rng.beta(1.3, 1.7) * hue / hue.mean()
    lightness = np.exp(rng.normal(0.0, 0.5, (count, 1)))
    colours = base * lightness * np.exp(rng.normal(0.0, 0.1, (count, 3)))
    return np.asarray(np.clip(colours, 0.0, 1.0))


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Foliage, crowds, cloth: clouds of a palette at several scales."""
    dark, light = _palette(rng, 2).astype(np.float32)
    share = np.zeros((size, size), np.float32)
    for cells, weight in ((2, 0.5), (5, 0.3), (14, 0.2)):
        share += weight * cv2.resize(
            rng.uniform(0, 1, (cells + 1, cells + 1)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
    return np.asarray(dark + share[..., None] * (light - dark))


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    corners = _palette(rng, 4).astype(np.float32).reshape(2, 2, 3)
    return np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR))


def _room(rng: np.random.Generator, size: int) -> np.ndarray:
    """Edges of walls, frames, shelves and people, as rectangles and discs of one palette."""
    out = _gradient(rng, size)
    for colour in _palette(rng, int(rng.integers(3, 14))):
        x, y = rng.uniform(-0.2, 1.1, 2) * size
        width, height = rng.uniform(0.05, 0.7, 2) * size
        value = tuple(float(v) for v in colour)
        if rng.random() < 0.75:
            cv2.rectangle(out, (int(x), int(y)), (int(x + width), int(y + height)), value, -1)
        else:
            cv2.circle(out, (int(x), int(y)), int(width / 2), value, -1, cv2.LINE_AA)
    return out


def _lights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Lamps out of focus over something dark."""
    out = _gradient(rng, size) * np.float32(rng.uniform(0.1, 0.6))
    for _ in range(int(rng.integers(3, 20))):
        glow = np.zeros_like(out)
        at = rng.uniform(0, size, 2).astype(int)
        cv2.circle(
            glow,
            (int(at[0]), int(at[1])),
            int(size * rng.uniform(0.01, 0.06)),
            tuple(float(v) for v in rng.uniform(0.2, 1.0, 3) ** 0.7),
            -1,
            cv2.LINE_AA,
        )
        out += glow
    return out


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a background.

    Returns
    -------
    float32 [size, size, 3], sRGB 0 to 1
    """
    kind = rng.random()
    if kind < 0.15:
        out = np.tile(_palette(rng, 1).astype(np.float32), (size, size, 1))
    elif kind < 0.4:
        out = _gradient(rng, size)
    elif kind < 0.75:
        out = _room(rng, size)
    elif kind < 0.9:
        out = _clouds(rng, size)
    else:
        out = _lights(rng, size)
    if rng.random() < 0.75:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), size * rng.uniform(0.01, 0.08)))
    return np.clip(np.ascontiguousarray(out, dtype=np.float32), 0.0, 1.0)
