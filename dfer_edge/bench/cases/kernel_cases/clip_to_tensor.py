"""`clip_to_tensor` against OpenCV's resize with numpy, and against the crops and table that it replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge import kernels
from dfer_edge.bench.cases.kernel_cases import Bar, within
from dfer_edge.inference import registry
from dfer_edge.types import Box

TITLE = "8 RGB frames of 1280 x 720, crops of 360 x 360 to 196 x 196, float32"
SPEC = registry.find("slowr50_sa").spec
BOXES = [Box(300 + 11 * t, 100 + 7 * t, 660 + 11 * t, 460 + 7 * t) for t in range(8)]
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 720, 1280, 3), np.uint8)
MOVED_BYTES = 8 * 3 * (360 * 360 + 4 * SPEC.size**2)
BARS = {"cv2 + numpy": Bar(4)}


def resized() -> npt.NDArray[np.uint8]:
    """Crops by OpenCV's area averaging, [T, S, S, 3]."""
    crops = (
        frame[int(b.top) : int(b.bottom), int(b.left) : int(b.right)] for frame, b in zip(FRAMES, BOXES, strict=True)
    )
    return np.stack([cv2.resize(c, (SPEC.size, SPEC.size), interpolation=cv2.INTER_AREA) for c in crops])


def by_numpy() -> npt.NDArray[np.float32]:
    """Resize, normalise in place in float32, transpose."""
    pixels = resized().astype(np.float32)
    pixels *= np.float32(1 / 255)
    pixels -= np.asarray(SPEC.mean, np.float32)
    pixels /= np.asarray(SPEC.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))


def by_table() -> npt.NDArray[np.float32]:
    """Resize, then a table of 256 values a channel: numpy at its best."""
    pixels = resized()
    levels = np.arange(256)[:, None] / 255
    table = ((levels - np.asarray(SPEC.mean)) / np.asarray(SPEC.std)).astype(np.float32)
    out = np.empty((3, *pixels.shape[:3]), np.float32)
    for channel in range(3):
        np.take(table[:, channel], pixels[..., channel], out=out[channel])
    return out


def check() -> None:
    """Within one level of OpenCV, and equal but for ties."""
    apart = abs(kernels.clip_to_tensor(FRAMES, BOXES, SPEC) - by_numpy())
    within(apart.max(), 1.01 / 255 / min(SPEC.std))
    within((apart > 1e-3).mean(), 0.01, "a share of the values")


def cases() -> dict[str, Callable[[], Any]]:
    """OpenCV on one thread, as everything here."""
    cv2.setNumThreads(1)
    out = np.empty((3, 8, SPEC.size, SPEC.size), np.float32)
    return {
        "ours": lambda: kernels.clip_to_tensor(FRAMES, BOXES, SPEC, out=out),
        "cv2 + numpy": by_numpy,
        "cv2 + table": by_table,
        "cv2.resize alone": resized,
    }


GPU_TITLE = "8 RGB frames of 1280 x 720, 64 people, crops of 360 x 360 to 196 x 196, float16"
GPU_MOVED_BYTES = 8 * 3 * (1280 * 720 + 64 * 2 * SPEC.size**2)
GPU_SHARE_OF_FLOOR = 0.7
GPU_INSTRUCTIONS = 120 * 64 * 8 * SPEC.size**2


def gpu_check() -> None:
    """As the reference, on whatever backend is forced."""
    import torch

    actual = kernels.clip_to_tensor(torch.from_numpy(FRAMES).cuda(), BOXES, SPEC).cpu().numpy()
    with kernels.use_backend("reference"):
        np.testing.assert_allclose(actual, kernels.clip_to_tensor(FRAMES, BOXES, SPEC), rtol=1e-5, atol=1e-6)


def gpu_cases() -> dict[str, Callable[[], Any]]:
    """Many people in the same frames."""
    import torch

    frames = torch.from_numpy(FRAMES).cuda()
    table = torch.tensor([BOXES] * 64, device="cuda").int()
    out = torch.empty(64, 3, 8, SPEC.size, SPEC.size, dtype=torch.float16, device="cuda")
    return {"ours": lambda: kernels.clip_to_tensor(frames, table, SPEC, out=out)}
