"""The Triton form of `token_attention` under the interpreter, against the definition in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dfer_edge.errors import EngineUnavailable
from dfer_edge.kernels import token_attention, use_backend
from dfer_edge.kernels.token_attention import fold, reference, triton_impl
from tests.kernels.cases import TOLERANCE, poisoned, relative
from tests.kernels.test_token_attention import FLOAT32, SHAPES, doubled, token_of, weights_of

__all__ = ["poisoned"]


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's time is by program; the last one still has fewer units than a block."""
    monkeypatch.setattr(triton_impl, "BLOCK_H", 16)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 2048, 64, 512, 7)])
def test_values(shape: tuple[int, ...], softmax: bool) -> None:
    token, weights = token_of(shape), fold(weights_of(shape))
    expected = reference.head(token.double(), list(doubled(weights)), softmax)
    with use_backend("triton"):
        assert relative(token_attention(token, weights, softmax), expected) <= FLOAT32


def test_half() -> None:
    shape = (3, 200, 200, 70, 7)
    token, weights = token_of(shape, torch.float16), fold(weights_of(shape, torch.float16))
    expected = reference.head(token.double(), list(doubled(weights)), False)
    with use_backend("triton"):
        actual = token_attention(token, weights)
    assert relative(actual, expected) <= TOLERANCE["float16"]


def test_nan_stays() -> None:
    shape = (3, 33, 33, 9, 4)
    token = token_of(shape)
    token[1, 32] = math.nan
    with use_backend("triton"):
        assert token_attention(token, fold(weights_of(shape))).isnan().all(1).tolist() == [False, True, False]


def test_the_printed_form_is_declined() -> None:
    with use_backend("triton"), pytest.raises(EngineUnavailable, match="takes folded weights"):
        token_attention(token_of(SHAPES[2]), weights_of(SHAPES[2]))
