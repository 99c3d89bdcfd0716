"""`lbp` against scikit-image, vectorised numpy and a plain copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge import kernels
from dfer_edge.bench.cases.kernel_cases import Bar

TITLE = "uint8 grey 25 x 224 x 224 to codes, noise"
FRAMES = np.random.default_rng(0).integers(0, 256, (25, 224, 224), np.uint8)
MOVED_BYTES = 2 * FRAMES.size
# Within 6 times a copy is a ratio of 1 / 6.
BARS = {"scikit-image": Bar(200), "numpy": Bar(20), "copy": Bar(1 / 6)}


def vectorised(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """As one would write it in numpy: eight comparisons of shifted views."""
    padded = np.pad(frames, ((0, 0), (1, 1), (1, 1)), "edge")
    height, width = frames.shape[1:]
    codes = np.zeros_like(frames)
    for bit, (down, across) in enumerate([(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]):
        codes |= (padded[:, down : down + height, across : across + width] >= frames).view(np.uint8) << np.uint8(bit)
    return codes


def check() -> None:
    """Bit for bit."""
    np.testing.assert_array_equal(kernels.lbp(FRAMES), vectorised(FRAMES))


def cases() -> dict[str, Callable[[], Any] | str]:
    """On the same frames; ours and the copy write into memory that is there."""
    out, copied = np.empty_like(FRAMES), np.empty_like(FRAMES)
    return {
        "ours": lambda: kernels.lbp(FRAMES, out=out),
        "copy": lambda: np.copyto(copied, FRAMES),
        "numpy": lambda: vectorised(FRAMES),
        "scikit-image": by_scikit_image(),
    }


def by_scikit_image() -> Callable[[], Any] | str:
    """The peer, or why there is none."""
    try:
        from skimage.feature import local_binary_pattern
    except ImportError:
        return "scikit-image is not installed"
    peer: Any = local_binary_pattern
    return lambda: [peer(frame, 8, 1) for frame in FRAMES]


GPU_TITLE = "uint8 grey 2048 x 224 x 224 to codes, noise"
GPU_MOVED_BYTES = 2 * 2048 * 224 * 224
GPU_SHARE_OF_FLOOR = 0.7
GPU_INSTRUCTIONS = 12 * 2048 * 224 * 224


def gpu_check() -> None:
    """Bit for bit, on whatever backend is forced."""
    import torch

    actual = kernels.lbp(torch.from_numpy(FRAMES).cuda()).cpu().numpy()
    np.testing.assert_array_equal(actual, vectorised(FRAMES))


def gpu_cases() -> dict[str, Callable[[], Any]]:
    """A large batch."""
    import torch

    frames = torch.randint(0, 256, (2048, 224, 224), dtype=torch.uint8, device="cuda")
    out = torch.empty_like(frames)
    return {"ours": lambda: kernels.lbp(frames, out=out), "copy": lambda: out.copy_(frames)}
