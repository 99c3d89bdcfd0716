"""`token_attention`: the printed head of nn.MultiheadAttention, its fold, hostile inputs, gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfer_edge import InvalidInput
from dfer_edge.errors import EngineUnavailable
from dfer_edge.kernels import token_attention, use_backend, use_threads
from dfer_edge.kernels.token_attention import Folded, Printed, fold, reference
from dfer_edge.models.slowr50 import AttentionHead
from tests.kernels.cases import HOST_BACKENDS, TOLERANCE, poisoned, relative, require_backend, strided

__all__ = ["poisoned"]

# Largest error relative to the largest score, float32: tighter than of the other operations.
FLOAT32 = 1e-6
# Batch, token, values, hidden, classes: ones, primes, more than one block of everything.
SHAPES = [
    (1, 1, 1, 1, 1),
    (1, 67, 67, 31, 7),
    (3, 17, 5, 13, 2),
    (4, 64, 64, 32, 7),
    (9, 130, 33, 257, 11),
    (0, 8, 8, 4, 3),
]


def weights_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 2) -> Printed:
    _, token, values, hidden, classes = shape
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> torch.Tensor:
        return (torch.randn(size, generator=generator, dtype=torch.float64) / math.sqrt(size[-1])).to(dtype)

    layers = ((values, token), (token, values), (hidden, token), (classes, hidden))
    return Printed(*(array for out, width in layers for array in (draw(out, width), draw(out) / 3)))


def token_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape[:2], generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


def doubled(weights: Any) -> Any:
    return type(weights)(*(array.double() for array in weights))


def of_module(head: AttentionHead) -> Printed:
    attention, width = head.attention, head.attention.embed_dim
    tensors = (
        attention.in_proj_weight[2 * width :],
        attention.in_proj_bias[2 * width :],
        attention.out_proj.weight,
        attention.out_proj.bias,
        head.fc.weight,
        head.fc.bias,
        head.classifier.weight,
        head.classifier.bias,
    )
    return Printed(*(tensor.detach() for tensor in tensors))


@pytest.fixture(scope="module")
def head() -> AttentionHead:
    """The training form's head, of the paper's size, with biases that are not zero."""
    torch.manual_seed(1)
    head = AttentionHead(7, 4, 0.5).eval()
    for bias in (head.attention.in_proj_bias, head.attention.out_proj.bias):
        nn.init.normal_(bias, 0, 0.3)
    return head


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("batch", [1, 5])
def test_both_forms_are_the_network_s_head(head: AttentionHead, batch: int, backend: str) -> None:
    require_backend("token_attention", backend)
    token, printed = token_of((batch, 2048)), of_module(head)
    with torch.no_grad():
        expected = head.double()(token.double())
        head.float()
    for weights in (printed, fold(printed)):
        for softmax in (False, True):
            with use_backend(backend):
                actual = token_attention(token, weights, softmax)
                same = token_attention(token.numpy(), type(weights)(*(w.numpy() for w in weights)), softmax)
            assert isinstance(same, np.ndarray)
            wanted = expected.softmax(-1) if softmax else expected
            # The definition rounds as the BLAS of the day does.
            bound = FLOAT32 if backend == "cpu" else 2 * FLOAT32
            assert max(relative(actual, wanted), relative(same, wanted)) <= bound


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("softmax", [False, True])
def test_values(shape: tuple[int, ...], softmax: bool, backend: str) -> None:
    require_backend("token_attention", backend)
    token, printed = token_of(shape), weights_of(shape)
    wide, x = doubled(printed), token.double()
    value = nn.functional.linear(x, wide.value_weight, wide.value_bias)
    hidden = torch.relu(
        nn.functional.linear(
            x + nn.functional.linear(value, wide.out_weight, wide.out_bias), wide.fc_weight, wide.fc_bias
        )
    )
    expected = nn.functional.linear(hidden, wide.classifier_weight, wide.classifier_bias)
    expected = expected.softmax(-1) if softmax else expected
    with use_backend(backend):
        for weights in (printed, fold(printed)):
            actual = token_attention(token, weights, softmax)
            assert actual.shape == (shape[0], shape[-1])
            assert relative(actual, expected) <= FLOAT32
    with use_backend("reference"):
        assert relative(token_attention(x, wide, softmax), expected) <= 1e-14
        assert relative(token_attention(x, fold(wide), softmax), expected) <= 1e-13


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types(dtype: torch.dtype) -> None:
    shape = (3, 256, 256, 64, 7)
    token, printed = token_of(shape, dtype), weights_of(shape, dtype)
    expected = reference.head(token.double(), list(doubled(printed)), False)
    for weights in (printed, fold(printed)):
        actual = token_attention(token, weights)
        assert actual.dtype == dtype
        assert relative(actual, expected) <= TOLERANCE[str(dtype).removeprefix("torch.")]


def test_softmax_of_large_scores() -> None:
    shape = (2, 8, 8, 16, 5)
    weights = fold(weights_of(shape))._replace(classifier_bias=torch.tensor([300.0, 0.0, -300.0, 299.0, 1e4]))
    for backend in HOST_BACKENDS:
        require_backend("token_attention", backend)
        with use_backend(backend):
            actual = token_attention(token_of(shape), weights, softmax=True)
        torch.testing.assert_close(actual, torch.tensor([[0.0, 0, 0, 0, 1]] * 2))


def test_relu_passes_nan_on() -> None:
    shape = (6, 33, 33, 9, 4)
    token = token_of(shape)
    token[4, 32] = math.nan
    for backend in HOST_BACKENDS:
        require_backend("token_attention", backend)
        with use_backend(backend):
            for weights in (weights_of(shape), fold(weights_of(shape))):
                assert token_attention(token, weights).isnan().any(1).tolist() == [False] * 4 + [True, False]


def test_threads_do_not_change_a_bit() -> None:
    require_backend("token_attention", "cpu")
    shape = (5, 67, 67, 31, 7)
    for weights in (weights_of(shape), fold(weights_of(shape))):
        one = token_attention(token_of(shape), weights)
        for threads in (2, 3, 40):
            with use_threads(threads):
                assert torch.equal(token_attention(token_of(shape), weights), one)


def test_strided_inputs_are_read_right() -> None:
    shape = (3, 17, 5, 13, 2)
    token, weights = token_of(shape), weights_of(shape)
    views = Printed(*map(strided, weights))
    for backend in HOST_BACKENDS:
        require_backend("token_attention", backend)
        with use_backend(backend):
            assert torch.equal(token_attention(strided(token), views), token_attention(token, weights))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("folded", [False, True])
def test_gradients(folded: bool, softmax: bool) -> None:
    """Against differences, and against autograd through the definition."""
    shape = (3, 5, 4, 6, 3)
    weights: Any = weights_of(shape, torch.float64)
    weights = fold(weights) if folded else weights
    variables = [tensor.requires_grad_() for tensor in (token_of(shape, torch.float64), *weights)]

    def run(token: torch.Tensor, *arrays: torch.Tensor) -> torch.Tensor:
        return token_attention(token, type(weights)(*arrays), softmax)

    assert torch.autograd.gradcheck(run, variables)
    seed = torch.randn(3, 3, dtype=torch.float64)
    defined = torch.autograd.grad(reference.head(variables[0], variables[1:], softmax), variables, seed)
    for ours, theirs in zip(torch.autograd.grad(run(*variables), variables, seed), defined, strict=True):
        assert relative(ours, theirs) <= 1e-12


def test_float32_gradients() -> None:
    shape = (4, 64, 64, 32, 7)
    variables = [tensor.double().requires_grad_() for tensor in (token_of(shape), *weights_of(shape))]
    seed = torch.randn(4, 7)
    expected = torch.autograd.grad(reference.head(variables[0], variables[1:], False), variables, seed.double())
    narrow = [variable.detach().float().requires_grad_() for variable in variables]
    scores = token_attention(narrow[0], Printed(*narrow[1:]))
    for ours, theirs in zip(torch.autograd.grad(scores, narrow, seed), expected, strict=True):
        assert relative(ours, theirs) <= 1e-5


def test_the_operator_keeps_its_promises() -> None:
    from dfer_edge.kernels.token_attention.torch_op import token_attention as operator

    shape = (2, 5, 4, 6, 3)
    for weights in (weights_of(shape), fold(weights_of(shape))):
        arrays = [tensor.requires_grad_() for tensor in weights]
        torch.library.opcheck(operator, (token_of(shape).requires_grad_(), arrays, False))


def bad_calls() -> list[tuple[str, Any, Any, str]]:
    shape = (2, 5, 4, 6, 3)
    token, printed = token_of(shape), weights_of(shape)
    folded = fold(printed)
    no_classes = folded._replace(classifier_weight=torch.ones(0, 6), classifier_bias=torch.ones(0))
    wide = printed._replace(out_weight=torch.ones(6, 4), out_bias=torch.ones(6), fc_weight=torch.ones(6, 6))
    return [
        ("rank", token[0], folded, r"x as .*\[B, D\]"),
        ("integers", token.int(), folded, "got int32"),
        ("a tuple", token, tuple(folded), "Printed or Folded"),
        ("width", token[:, :4], folded, r"weight \[out, 4\]"),
        ("double", token.double(), folded, "weight as float64"),
        ("bias", token, folded._replace(bias=folded.bias[:3]), r"its bias \[out\], got \[6, 5\] and \[3\]"),
        ("matrix bias", token, folded._replace(bias=folded.bias[None]), "bias as float32"),
        ("library", token.numpy(), folded, "one library"),
        ("no classes", token, no_classes, "got"),
        ("residual", token, wide, "onto 5, got onto 6"),
    ]


@pytest.mark.parametrize(("token", "weights", "message"), [pytest.param(*case[1:], id=case[0]) for case in bad_calls()])
def test_bad_input(token: Any, weights: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        token_attention(token, weights)


def test_a_forced_backend_never_falls_back() -> None:
    shape = (2, 5, 4, 6, 3)
    with use_backend("triton"), pytest.raises(EngineUnavailable, match="triton: "):
        token_attention(token_of(shape), fold(weights_of(shape)))
    require_backend("token_attention", "cpu")
    with use_backend("cpu"), pytest.raises(EngineUnavailable, match="takes float32, got float64"):
        token_attention(token_of(shape).double(), doubled(fold(weights_of(shape))))


def test_fold_of_numpy_is_fold_of_torch() -> None:
    printed = weights_of((1, 17, 5, 13, 2))
    for ours, theirs in zip(fold(Printed(*(w.numpy() for w in printed))), fold(printed), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    assert isinstance(fold(printed), Folded)


@pytest.mark.slow
def test_a_weight_beyond_what_32_bits_can_index() -> None:
    """The last of nine rows of 2**28 values and some, of memory that reads as zero."""
    width, units = 2**28 + 3, 9
    try:
        token, weight = np.zeros((1, width), np.float32), np.zeros((units, width), np.float32)
    except MemoryError:
        pytest.skip("no address space for 2**31 values")
    token[0, -1], weight[-1, -1] = 3, 0.5
    quarters, twos = np.full(units, 0.25, np.float32), np.full((1, units), 2, np.float32)
    scores = token_attention(token, Folded(weight, quarters, twos, quarters[:1]))
    assert scores.item() == 2 * (8 * 0.25 + (3 * 0.5 + 0.25)) + 0.25
