"""The Triton form of `attention_gate` under the interpreter, against the training form in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dfer_edge.kernels import attention_gate, use_backend
from dfer_edge.kernels.attention_gate import KINDS
from tests.kernels.cases import TOLERANCE, poisoned, relative
from tests.kernels.test_attention_gate import SHAPES, expected_of, map_of, module_of, weights_of

__all__ = ["poisoned"]


# Thousands of pixels, one at a time.
LARGE = [pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[4:6]]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [*SHAPES[1:4], *LARGE, *SHAPES[6:], (1, 40, 14, 14)])
def test_values(shape: tuple[int, ...], kind: str, pool: bool) -> None:
    x, weights = map_of(shape), weights_of(module_of(kind, shape[1]))
    with use_backend("triton"):
        actual = attention_gate(x, kind, weights, pool)
    assert relative(actual, expected_of(x, weights, kind, pool)) <= TOLERANCE["float32"]


@pytest.mark.parametrize("kind", KINDS)
def test_half(kind: str) -> None:
    x, weights = map_of((1, 32, 14, 10), torch.float16), weights_of(module_of(kind, 32), torch.float16)
    with use_backend("triton"):
        actual = attention_gate(x, kind, weights)
    assert relative(actual, expected_of(x, weights, kind, True)) <= TOLERANCE["float16"]


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_never_lost(kind: str) -> None:
    x, weights = map_of((2, 5, 9, 17)), weights_of(module_of(kind, 5))
    x[0, 3, 5, 9] = math.nan
    with use_backend("triton"):
        for pool in (True, False):
            expected = expected_of(x, weights, kind, pool)
            assert torch.equal(attention_gate(x, kind, weights, pool).isnan(), expected.isnan())
