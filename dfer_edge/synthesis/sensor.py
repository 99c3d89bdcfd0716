"""From linear light to the pixels of a camera and a codec. One :class:`Film` serves a whole clip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.synthesis.native import NATIVE


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
        brightness=float(rng.uniform(0.36, 0.75)) if amount > 0 else 0.5,
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


def develop(
    film: Film, linear: np.ndarray, background: np.ndarray, patch: np.ndarray | None, factor: float
) -> np.ndarray:
    """A face before its background, with exposure, shoulder, curve and gamma.

    Parameters
    ----------
    linear
        float32 [S, S, 4], linear RGB times coverage, and coverage.
    background
        float32 [S, S, 3], sRGB.
    patch
        float32 [S, S, 1], what the face's sRGB is multiplied by.
    factor
        Of :func:`exposure`.

    Returns
    -------
    float32 [S, S, 3], sRGB
    """
    return NATIVE.develop(
        linear, background, patch, factor=factor, shoulder=film.shoulder, curve=film.curve, gamma=film.gamma
    )


def _grade(film: Film, image: np.ndarray) -> np.ndarray:
    """Contrast about the mean, saturation and tint: all three as one matrix and offset."""
    offset = (1.0 - film.contrast) * float(image.mean()) if film.contrast != 1.0 else 0.0
    colour = film.saturation * np.eye(3) + (1.0 - film.saturation) / 3.0
    matrix = np.column_stack([film.contrast * colour, np.full(3, offset)]) * film.tint[:, None]
    return np.asarray(cv2.transform(image, matrix.astype(np.float32)))


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
    """What :func:`develop` gives to uint8, with colour, resampling, noise and compression."""
    image, noise = _resample(film, _grade(film, image)), None
    if film.noise > 0.0:
        noise = rng.standard_normal((*image.shape[:2], 1 if film.grey_noise else 3), dtype=np.float32)
    pixels = NATIVE.to_bytes(image, noise, film.noise)
    if film.quality:
        _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, film.quality))
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return pixels
