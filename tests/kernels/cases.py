"""What the tests of several operations ask: tolerances, backends that can run here, poisoned outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dfer_edge.kernels import arrays, dispatch

# Largest error relative to the largest value, against float64. Narrow types: rounding of inputs is not counted.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
HOST_BACKENDS = ("cpu", "reference")


def require_backend(op: str, name: str) -> None:
    """Skip with the reason if the backend cannot run on this machine."""
    if reason := dispatch.backends(op)[name]:
        pytest.skip(f"{name}: {reason}")


def relative(actual: Any, expected: Any) -> float:
    """Largest absolute error over the largest absolute value expected; NaN if a NaN is left."""
    actual, expected = (torch.as_tensor(value).double().cpu() for value in (actual, expected))
    assert actual.shape == expected.shape
    if not expected.numel():
        return 0.0
    return ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """New outputs hold NaN: an element that a kernel forgets is seen."""

    def filling(make: Callable[..., Any]) -> Callable[..., Any]:
        def filled(*args: Any, **options: Any) -> Any:
            out = make(*args, **options)
            if "float" in str(out.dtype):
                out[...] = np.nan
            return out

        return filled

    for owner, name in ((arrays, "empty"), (torch, "empty"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, filling(getattr(owner, name)))


def strided(array: Any) -> Any:
    """The same values with gaps between them and, with two axes or more, the last two swapped in memory."""
    if isinstance(array, np.ndarray):
        wide = np.full((*array.shape, 2), np.nan, array.dtype)
        wide[..., 0] = array
        view = wide[..., 0]
        return view.swapaxes(-1, -2).copy().swapaxes(-1, -2)[..., :] if array.ndim > 1 else view
    wide = torch.full((*array.shape, 2), torch.nan, dtype=array.dtype, device=array.device)
    wide[..., 0] = array
    return wide[..., 0]
