"""From linear light to the pixels of a camera and a codec. One :class:`Film` serves a whole clip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Film:
    """How a clip was exposed, resampled and compressed.

    Attributes
    ----------
    brightness
        What the middle of the face comes to, sRGB 0 to 1.
    shoulder
        Highlights are compressed rather than clipped.
    curve, gamma, contrast, saturation, tint
        Tone; curve bends towards an S, 0 straight to 1; tint [3] multiplies channels.
    blur_sigma, shrink, sharpen
        Resampling: Gaussian blur in pixels, factor of a detour through a smaller image (1: none), unsharp amount.
    noise, grey_noise
        Standard deviation in sRGB, and whether all channels share it.
    quality
        JPEG quality, 0 for none.
    """

    brightness: float
    shoulder: bool
    curve: float
    gamma: float
    contrast: float
    saturation: float
    tint: np.ndarray
    blur_sigma: float
    shrink: float
    sharpen: float
    noise: float
    grey_noise: bool
    quality: int


def draw_film(rng: np.random.Generator, amount: float = 1.0) -> Film:
    """Draw a film; amount 0 is a clean camera, 1 the default mixture."""

    def sometimes(probability: float, value: float, otherwise: float) -> float:
        return value if rng.random() < probability * amount else otherwise

    kind = rng.random() / max(amount, 1e-9)
    return Film(
        brightness=float(rng.uniform(0.28, 0.6)) if amount > 0 else 0.5,
        shoulder=bool(rng.random() < 0.6),
        curve=float(rng.uniform(0.4, 1.3)) * amount,
        gamma=sometimes(0.6, float(np.exp(rng.normal(0, 0.16))), 1.0),
        contrast=sometimes(0.5, float(np.exp(np.clip(rng.normal(0.08, 0.16), -0.3, 0.3))), 1.0),
        saturation=sometimes(0.6, 0.0 if rng.random() < 0.15 else float(rng.uniform(0.75, 1.35)), 1.0),
        tint=np.exp(rng.normal(0, 0.035, 3)) if rng.random() < 0.4 * amount else np.ones(3),
        blur_sigma=float(rng.uniform(0.4, 1.1)) if kind < 0.2 else 0.0,
        shrink=float(rng.uniform(0.35, 0.85)) if 0.2 <= kind < 0.32 else 1.0,
        sharpen=float(rng.uniform(0.2, 1.0)) if 0.32 <= kind < 0.65 else 0.0,
        noise=sometimes(0.45, float(rng.uniform(0.0, 0.018)), 0.0),
        grey_noise=bool(rng.random() < 0.5),
        quality=int(sometimes(0.5, float(rng.integers(30, 96)), 0)),
    )


def exposure(film: Film, linear: np.ndarray, skin_brightness: float) -> float:
    """Factor that brings the middle of a face to the film's brightness; dark skin stays darker than fair."""
    size = linear.shape[0]
    middle = linear[size // 4 : size - size // 4, size // 4 : size - size // 4]
    light = float(middle[..., :3].sum()) / (3.0 * float(middle[..., 3].sum()) + 1e-6)
    tone = float(np.clip((skin_brightness / 0.3) ** 0.4, 0.5, 1.15))
    return float(film.brightness**2.2 * tone / (light + 1e-4))


def develop(film: Film, linear: np.ndarray, factor: float) -> np.ndarray:
    """Linear light [S, S, 3] to sRGB float32 0 to 1."""
    light = np.clip(linear * np.float32(factor), 0.0, 4.0)
    if film.shoulder:
        light = light * np.float32(1.15) / (1.0 + 0.25 * light)
    return np.asarray(cv2.pow(np.minimum(light, 1.0), 1.0 / 2.2))


def _grade(film: Film, image: np.ndarray) -> np.ndarray:
    if film.curve > 0.0:
        image = image + np.float32(film.curve) * (image * image * (3.0 - 2.0 * image) - image)
    if film.gamma != 1.0:
        image = cv2.pow(np.clip(image, 0.0, 1.0), film.gamma)
    if film.contrast != 1.0:
        mean = np.float32(image.mean())
        image = (image - mean) * np.float32(film.contrast) + mean
    if film.saturation != 1.0:
        grey = image.mean(axis=2, keepdims=True)
        image = grey + (image - grey) * np.float32(film.saturation)
    return np.asarray(image * film.tint.astype(np.float32))


def _resample(film: Film, image: np.ndarray) -> np.ndarray:
    if film.blur_sigma > 0.0:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), film.blur_sigma))
    if film.shrink < 1.0:
        size = image.shape[0]
        small = max(8, round(size * film.shrink))
        shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR))
    if film.sharpen > 0.0:
        return np.asarray(
            cv2.addWeighted(image, 1.0 + film.sharpen, cv2.GaussianBlur(image, (0, 0), 1.0), -film.sharpen, 0.0)
        )
    return image


def finish(film: Film, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """sRGB float [S, S, 3] to uint8, with tone, resampling, noise and compression."""
    image = _resample(film, _grade(film, image))
    if film.noise > 0.0:
        shape = (*image.shape[:2], 1 if film.grey_noise else 3)
        image = image + np.float32(film.noise) * rng.standard_normal(shape, dtype=np.float32)
    pixels = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    if film.quality:
        _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, film.quality))
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(pixels)
