"""`clip_to_tensor` in Triton, interpreted, against the reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dfer_edge import kernels
from dfer_edge.inference import registry
from dfer_edge.kernels.clip_to_tensor import crop_resize, triton_impl
from dfer_edge.types import Box

SPEC = dataclasses.replace(registry.find("slowr50_sa").spec, size=23, mean=(0.485, 0.456, 0.406))


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's time is by program, not by pixel."""
    monkeypatch.setattr(triton_impl, "BLOCK", 1024)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(2, 3, 39, 36), 31),
        (Box(2, 3, 15, 14), 31),
        (Box(0, 0, 40, 5), 23),
        (Box(-9, -7, 30, 32), 17),
        (Box(90, 9, 95, 14), 3),
        (Box(5, 6, 8, 10), 1),
    ],
)
def test_pixels_bit_for_bit(rng: np.random.Generator, box: Box, size: int) -> None:
    image = rng.integers(0, 256, (37, 41, 3), np.uint8)
    with kernels.use_backend("reference"):
        expected = crop_resize(image, box, size)
    with kernels.use_backend("triton"):
        np.testing.assert_array_equal(crop_resize(image, box, size), expected)


@pytest.mark.parametrize(("pixel_format", "dtype", "tolerance"), [("rgb", "float16", 2e-3), ("nv12", "float32", 1e-5)])
def test_many_clips(rng: np.random.Generator, pixel_format: str, dtype: str, tolerance: float) -> None:
    frames = rng.integers(0, 256, (2, 54, 40, 3) if pixel_format == "rgb" else (2, 54, 40), np.uint8)
    boxes = [[Box(2, 3, 30, 31), Box(-5, -5, 6, 6)], [Box(1, 1, 12, 12), Box(20, 20, 45, 45)]]
    with kernels.use_backend("reference"):
        expected = kernels.clip_to_tensor(frames, boxes, SPEC, pixel_format=pixel_format, dtype=dtype)
    out = np.full(expected.shape, np.nan, dtype)
    with kernels.use_backend("triton"):
        kernels.clip_to_tensor(frames, boxes, SPEC, pixel_format=pixel_format, out=out)
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=1e-6)
