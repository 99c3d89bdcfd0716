"""Colours and sharpness of a clip, changed as the recipe draws: uint8 in, uint8 out, [T, S, S, 3] RGB."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge import kernels
from dfer_edge.training.recipes import Pixels
from dfer_edge.types import Image

Generator = np.random.Generator
Float = npt.NDArray[np.float32]

GREY = np.asarray((0.299, 0.587, 0.114), np.float32)  # BT.601
SHRINK = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
ENLARGE = (cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA)


def augment(frames: Image, pixels: Pixels, rng: Generator) -> Image:
    """A clip with its colours and its sharpness changed; every draw but the noise is one for all frames."""
    if pixels.lbp and rng.random() < pixels.lbp:
        return local_binary_patterns(frames)
    if pixels.cutout and rng.random() < pixels.cutout:
        frames = _cutout(frames, pixels, rng)
    frames = _sharpness(frames, pixels, rng)
    if _changes_colours(pixels):
        frames = _colours(frames, pixels, rng)
    if pixels.hue:
        frames = _turn_hue(frames, float(rng.uniform(-pixels.hue, pixels.hue)))
    if pixels.jpeg and rng.random() < pixels.jpeg:
        quality = round(rng.uniform(*pixels.jpeg_quality))
        frames = np.stack([_compressed(frame, quality) for frame in frames])
    return frames


def luma(frames: Image) -> Image:
    """BT.601 grey in three equal channels; uint8 in and out."""
    grey = np.rint(_grey(frames.astype(np.float32))).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def _grey(x: Float) -> Float:
    # Sum by sum: a product of matrices rounds as the machine's BLAS likes.
    grey: Float = x[..., :1] * GREY[0] + x[..., 1:2] * GREY[1] + x[..., 2:] * GREY[2]
    return grey


def local_binary_patterns(frames: Image) -> Image:
    """Codes of 3x3 local binary patterns in three equal channels (paper 001)."""
    return np.repeat(np.asarray(kernels.lbp(frames), np.uint8)[..., None], 3, axis=-1)


def _changes_colours(pixels: Pixels) -> bool:
    parts = ("grey", "brightness", "contrast", "saturation", "tint_sd", "gamma_sd", "light", "noise")
    return any(getattr(pixels, part) for part in parts)


def _colours(frames: Image, pixels: Pixels, rng: Generator) -> Image:
    x: Float = frames.astype(np.float32)
    factor = {part: float(rng.uniform(-1, 1)) for part in ("brightness", "contrast", "saturation")}
    if pixels.gamma_sd:
        gamma = np.exp(rng.normal(0, pixels.gamma_sd))
        curve: Float = (255 * (np.arange(256) / 255) ** gamma).astype(np.float32)
        x = curve[frames]
    if pixels.grey and rng.random() < pixels.grey:
        x = np.repeat(_grey(x), 3, -1)
    elif pixels.saturation or pixels.tint_sd:
        grey = _grey(x)
        x = (grey + (x - grey) * np.float32(1 + pixels.saturation * factor["saturation"])).astype(np.float32)
        x *= np.exp(rng.normal(0, pixels.tint_sd, 3)).astype(np.float32)
    if pixels.light and rng.random() < pixels.light:
        x = x * _light(frames.shape[1], pixels, rng)
    if pixels.contrast:
        mean = np.float32(x.mean())
        x = mean + (x - mean) * np.float32(1 + pixels.contrast * factor["contrast"])
    x *= np.float32(1 + pixels.brightness * factor["brightness"])
    if pixels.noise and rng.random() < pixels.noise:
        x += rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(*pixels.noise_sd))
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _sharpness(frames: Image, pixels: Pixels, rng: Generator) -> Image:
    size = frames.shape[1]
    if pixels.resample and rng.random() < pixels.resample:
        small = max(8, round(size * rng.uniform(*pixels.resample_scale)))
        down, up = int(rng.choice(SHRINK)), int(rng.choice(ENLARGE))
        if small < size:
            shrunk = [cv2.resize(frame, (small, small), interpolation=down) for frame in frames]
            frames = np.stack([cv2.resize(frame, (size, size), interpolation=up) for frame in shrunk]).astype(np.uint8)
    if pixels.blur and rng.random() < pixels.blur:
        sd = float(rng.uniform(*pixels.blur_sd)) * size / 112
        frames = np.stack([cv2.GaussianBlur(frame, (0, 0), max(sd, 0.1)) for frame in frames]).astype(np.uint8)
    if pixels.sharpen and rng.random() < pixels.sharpen:
        amount = float(rng.uniform(*pixels.sharpen_amount))
        frames = np.stack([_unsharp(frame, amount) for frame in frames])
    return frames


def _unsharp(frame: Image, amount: float) -> Image:
    soft = cv2.GaussianBlur(frame, (0, 0), len(frame) / 80)
    return np.asarray(cv2.addWeighted(frame, 1 + amount, soft, -amount, 0), np.uint8)


def _light(size: int, pixels: Pixels, rng: Generator) -> Float:
    """A factor for each pixel, [S, S, 1]: 1 in the middle, growing in a direction drawn at random."""
    slope, angle = rng.normal(0, pixels.light_sd), rng.uniform(0, 2 * np.pi)
    along = (np.arange(size) + 0.5) / size - 0.5
    factor = 1 + slope * (np.cos(angle) * along + np.sin(angle) * along[:, None])
    light: Float = np.maximum(factor, 0)[..., None].astype(np.float32)
    return light


def _turn_hue(frames: Image, share: float) -> Image:
    # OpenCV's 8-bit hue counts 180 steps a circle.
    step = round(share * 180)
    turned = []
    for frame in frames:
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = ((hsv[..., 0].astype(np.int16) + step) % 180).astype(np.uint8)
        turned.append(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
    return np.stack(turned).astype(np.uint8)


def _compressed(frame: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def _cutout(frames: Image, pixels: Pixels, rng: Generator) -> Image:
    size = frames.shape[1]
    height, width = (max(1, round(size * rng.uniform(*pixels.cutout_side))) for _ in range(2))
    top, left = (int(rng.integers(-side // 2, size - side // 2)) for side in (height, width))
    out = frames.copy()
    out[:, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = rng.integers(0, 256, 3)
    return out
