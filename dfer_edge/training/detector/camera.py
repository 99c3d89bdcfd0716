"""What a camera and a codec make of a scene."""

from __future__ import annotations

import cv2
import numpy as np


def seen(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light, blur, resampling, noise and compression; float32 [S, S] 0 to 255 to uint8."""
    size = image.shape[0]
    image = _light(rng, image)
    kind = rng.random()
    if kind < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    elif kind < 0.36:
        small = int(size * rng.uniform(0.45, 0.95))
        how = cv2.INTER_AREA if rng.random() < 0.6 else cv2.INTER_LINEAR
        back = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_CUBIC
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=how), (size, size), interpolation=back)
    elif kind < 0.55:
        image = image + rng.uniform(0.2, 1.3) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.7, 1.4)))
    elif kind < 0.62:
        image = _smeared(rng, image)
    if rng.random() < 0.45:
        deviation = np.float32(np.exp(rng.uniform(-0.5, 2.9)))
        image = image + deviation * rng.standard_normal(image.shape, dtype=np.float32)
    pixels = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))))
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    return pixels


def _light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, contrast, gamma, and light from one side."""
    size = image.shape[0]
    if rng.random() < 0.25:
        slope = rng.normal(0.0, 0.5, 2) / size
        line = np.arange(size, dtype=np.float32) - size / 2
        field = np.float32(slope[0]) * line + np.float32(slope[1]) * line[:, None]
        image = image * np.exp(np.clip(field, -1.0, 1.0))
    if rng.random() < 0.5:
        image = 255 * np.clip(image / 255, 0, 1) ** np.float32(np.exp(rng.normal(0.0, 0.35)))
    gain = np.exp(rng.normal(0.0, 0.22))
    if rng.random() < 0.12:  # dark
        gain *= rng.uniform(0.12, 0.5)
    lift = rng.normal(0.0, 8.0) if rng.random() < 0.7 else rng.uniform(0.0, 70.0)
    return np.asarray(image * np.float32(gain) + np.float32(lift), np.float32)


def _smeared(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    reach = int(rng.integers(1, 5))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    tip = np.round(reach * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    cv2.line(kernel, (reach - tip[0], reach - tip[1]), (reach + tip[0], reach + tip[1]), 1.0, 1, cv2.LINE_AA)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))
