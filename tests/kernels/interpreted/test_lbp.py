"""`lbp` in Triton, interpreted, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from dfer_edge import kernels
from dfer_edge.kernels.lbp import triton_impl


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's time is by program, not by pixel."""
    monkeypatch.setattr(triton_impl, "BLOCK", 1024)


@pytest.mark.parametrize("border", ["replicate", "zero"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (2, 19, 31), (3, 5, 1, 3), (2, 17, 13, 3), (0, 4, 4)])
def test_is_the_reference(rng: np.random.Generator, shape: tuple[int, ...], border: str) -> None:
    frames = rng.integers(0, 24, shape, np.uint8)
    options = {"border": border, "bit_order": "skimage"}
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with kernels.use_backend("reference"):
        codes, clip = kernels.lbp(frames, **options), kernels.lbp_clip(frames, mean, std, **options)
    out = np.full(clip.shape, np.nan, np.float32)
    with kernels.use_backend("triton"):
        np.testing.assert_array_equal(kernels.lbp(frames, **options), codes)
        kernels.lbp_clip(frames, mean, std, **options, out=out)
    np.testing.assert_allclose(out, clip, rtol=1e-5, atol=1e-6)
