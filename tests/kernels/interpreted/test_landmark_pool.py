"""The Triton form of `landmark_pool` under the interpreter, against the definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfer_edge.kernels import landmark_pool, use_backend
from dfer_edge.kernels.landmark_pool import reference
from tests.kernels.cases import TOLERANCE, poisoned, relative
from tests.kernels.test_landmark_pool import SHAPES, example

__all__ = ["poisoned"]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES[1:], (2, 96, 14, 14, 18), (1, 2, 3, 200, 3)])
def test_values(shape: tuple[int, ...], gated: bool, norm: bool) -> None:
    features, landmarks, gates = example(shape, gated)
    wide = None if gates is None else [gate.double() for gate in gates]
    expected = reference.pool(features.double(), landmarks, 1.4, wide, norm)
    with use_backend("triton"):
        actual = landmark_pool(features, landmarks, 1.4, gates, norm)
    assert relative(actual, expected) <= TOLERANCE["float32"]


@pytest.mark.parametrize("gated", [False, True])
def test_half_and_numpy(gated: bool) -> None:
    features, landmarks, gates = example((2, 70, 7, 14, 18), gated, torch.float16)
    wide = None if gates is None else [gate.double() for gate in gates]
    expected = reference.pool(features.double(), landmarks, 1.4, wide, False)
    arrays = None if gates is None else [gate.numpy() for gate in gates]
    with use_backend("triton"):
        actual = landmark_pool(features.numpy(), landmarks.numpy(), 1.4, arrays)
    assert isinstance(actual, np.ndarray)
    assert actual.dtype == np.float16
    assert relative(actual, expected) <= TOLERANCE["float16"]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("far", [1e3, -1e9, 3e38])
def test_landmarks_far_outside(far: float, norm: bool) -> None:
    features, landmarks, _ = example((1, 6, 5, 7, 3), False)
    landmarks[0, 1, 0] = far
    expected = reference.pool(features.double(), landmarks, 1.4, None, norm)
    with use_backend("triton"):
        actual = landmark_pool(features, landmarks, 1.4, norm_heat=norm)
        tiny = landmark_pool(features, torch.tensor([[[3.0, 2.0]]]), 1e-300, norm_heat=norm)
    assert relative(actual, expected) <= TOLERANCE["float32"]
    assert (actual[0, 1] != 0).all() == norm
    torch.testing.assert_close(tiny[0, 0], features[0, :, 2, 3] / (1 if norm else 35))
