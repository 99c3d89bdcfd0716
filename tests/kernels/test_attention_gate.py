"""`attention_gate` against the networks' own gates in float64; hostile inputs; every backend of this machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dfer_edge import InvalidInput
from dfer_edge.errors import EngineUnavailable
from dfer_edge.inference.vgg import Architecture
from dfer_edge.kernels import attention_gate, use_backend, use_threads
from dfer_edge.kernels.attention_gate import KINDS
from dfer_edge.models.vgg import AGGate, CBAMGate, SEGate
from tests.kernels.cases import HOST_BACKENDS, TOLERANCE, poisoned, relative, require_backend, strided

__all__ = ["poisoned"]

MODULES = {"agfer": AGGate, "se": SEGate, "cbam": CBAMGate}
# N, C, H, W: a network's, ones, primes, odd sides, maps narrower and wider than a register.
SHAPES = [
    (1, 256, 56, 56),
    (1, 1, 2, 2),
    (2, 13, 7, 5),
    (3, 5, 2, 31),
    (1, 17, 33, 34),
    (2, 6, 19, 67),
    (1, 7, 9, 15),
    (0, 3, 4, 4),
]


def module_of(kind: str, channels: int, spatial: int = 8) -> nn.Module:
    """A gate of the training form with weights that are far from zero, so that no part is idle."""
    torch.manual_seed(channels)
    arch = Architecture(kind, 1 if channels < 2 or channels % 2 else 2, spatial, False, 0)
    module = MODULES[kind](channels, arch).eval()
    for name, parameter in module.named_parameters():
        nn.init.normal_(parameter, 0, 0.7 if name.endswith("bias") else 2 / math.sqrt(parameter[0].numel()))
    return module


def weights_of(module: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to(dtype) for name, tensor in module.state_dict().items()}


def map_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def expected_of(x: torch.Tensor, weights: dict[str, torch.Tensor], kind: str, pool: bool) -> torch.Tensor:
    """The training form and torch's pooling, float64."""
    module = module_of(kind, x.shape[1], len(weights.get("spatial1.bias", [0] * 8))).double()
    module.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    with torch.no_grad():
        gated = module(x.double())
    return functional.max_pool2d(gated, 2) if pool else gated


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_values(shape: tuple[int, ...], kind: str, pool: bool, backend: str) -> None:
    require_backend("attention_gate", backend)
    x, weights = map_of(shape), weights_of(module_of(kind, shape[1]))
    expected = expected_of(x, weights, kind, pool)
    with use_backend(backend):
        actual = attention_gate(x, kind, weights, pool)
        same = attention_gate(x.numpy(), kind, {name: w.numpy() for name, w in weights.items()}, pool)
    assert isinstance(same, np.ndarray)
    assert relative(actual, expected) <= TOLERANCE["float32"]
    assert relative(same, expected) <= TOLERANCE["float32"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(dtype: torch.dtype, kind: str) -> None:
    x = map_of((2, 32, 14, 10), dtype)
    weights = weights_of(module_of(kind, 32), dtype)
    actual = attention_gate(x, kind, weights)
    assert actual.dtype == dtype
    assert relative(actual, expected_of(x, weights, kind, True)) <= TOLERANCE[str(dtype).removeprefix("torch.")]


@pytest.mark.parametrize("spatial", [1, 3, 11])
def test_any_number_of_hidden_planes(spatial: int) -> None:
    x, weights = map_of((1, 6, 9, 8)), weights_of(module_of("agfer", 6, spatial))
    assert relative(attention_gate(x, "agfer", weights), expected_of(x, weights, "agfer", True)) <= 1e-5


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("bias", [-40.0, -3.0, 0.0, 3.0, 40.0])
def test_the_ag_gate_over_its_whole_range(bias: float, backend: str) -> None:
    """Between sigmoid(0) and sigmoid(1), whatever the scores are: the gate of a map of ones."""
    require_backend("attention_gate", backend)
    weights = {name: torch.zeros_like(tensor) for name, tensor in weights_of(module_of("agfer", 9)).items()}
    weights["channel.fc2.bias"] = torch.linspace(bias - 3, bias + 3, 9)
    weights["spatial2.bias"][:] = bias
    x = torch.ones(1, 9, 4, 40)
    with use_backend(backend):
        gate = attention_gate(x, "agfer", weights)
    assert (gate >= 0.5).all()
    assert (gate <= 1 / (1 + math.exp(-1)) + 1e-7).all()
    assert relative(gate, expected_of(x, weights, "agfer", True)) <= 1.5e-7


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_se_gate_commutes_with_the_pooling_bit_for_bit(backend: str) -> None:
    require_backend("attention_gate", backend)
    x, weights = map_of((2, 12, 13, 22)), weights_of(module_of("se", 12))
    with use_backend(backend):
        pooled = attention_gate(x, "se", weights)
        assert torch.equal(pooled, functional.max_pool2d(attention_gate(x, "se", weights, pool=False), 2))


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_never_lost(kind: str, backend: str) -> None:
    """Where torch has NaN: everywhere in its channel, and by the plane or the MLP in others."""
    require_backend("attention_gate", backend)
    for at in ((0, 3, 5, 9), (0, 0, 8, 16), (0, 4, 0, 0)):
        x, weights = map_of((2, 5, 9, 17)), weights_of(module_of(kind, 5))
        x[at] = math.nan
        with use_backend(backend):
            for pool in (True, False):
                expected = expected_of(x, weights, kind, pool)
                assert torch.equal(attention_gate(x, kind, weights, pool).isnan(), expected.isnan())


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("kind", ["se", "cbam"])
@pytest.mark.parametrize("row", [6, 7])
@pytest.mark.parametrize("column", [20, 21])
def test_a_pixel_that_is_no_number_decides_its_window(kind: str, row: int, column: int, backend: str) -> None:
    """An infinity under a factor of 0 is NaN at one pixel, and in CBAM's 7 x 7 around it, which cuts windows apart."""
    require_backend("attention_gate", backend)
    x, weights = map_of((1, 5, 16, 40)).abs(), weights_of(module_of(kind, 5))
    for name in weights:
        if name.endswith("fc1.weight"):
            weights[name] = -weights[name].abs()
        elif name.endswith("fc2.bias"):
            weights[name] = torch.full_like(weights[name], -1000)  # sigmoid 0 in float64 too
    x[0, 3, row, column] = math.inf
    expected = expected_of(x, weights, kind, True)
    assert 0 < expected.isnan().sum() < expected.numel()
    with use_backend(backend):
        assert torch.equal(attention_gate(x, kind, weights).isnan(), expected.isnan())


@pytest.mark.parametrize("kind", KINDS)
def test_threads_agree(kind: str) -> None:
    require_backend("attention_gate", "cpu")
    x, weights = map_of((2, 13, 9, 11)), weights_of(module_of(kind, 13))
    one = attention_gate(x, kind, weights)
    for threads in (2, 5, 40):
        with use_threads(threads):
            # The mean over channels is summed by parts.
            torch.testing.assert_close(attention_gate(x, kind, weights), one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_strided_inputs_are_read_right(kind: str, backend: str) -> None:
    require_backend("attention_gate", backend)
    x, weights = map_of((2, 6, 8, 10)), weights_of(module_of(kind, 6))
    with use_backend(backend):
        expected = attention_gate(x, kind, weights)
        views = {name: strided(tensor) for name, tensor in weights.items()}
        for view in (strided(x), x.contiguous(memory_format=torch.channels_last), x.flip(3).flip(3)):
            torch.testing.assert_close(attention_gate(view, kind, views), expected, rtol=1e-6, atol=1e-7)


def test_the_operator_keeps_its_promises() -> None:
    from dfer_edge.kernels.attention_gate.torch_op import attention_gate as operator

    for kind in KINDS:
        for pool in (True, False):
            weights = list(weights_of(module_of(kind, 6)).values())
            torch.library.opcheck(operator, (map_of((2, 6, 5, 4)), kind, weights, pool))


def bad_calls() -> list[tuple[str, dict[str, Any], str]]:
    x, weights = map_of((2, 6, 8, 10)), weights_of(module_of("agfer", 6))
    good: dict[str, Any] = {"x": x, "kind": "agfer", "weights": weights}
    without = {name: tensor for name, tensor in weights.items() if name != "spatial2.bias"}
    return [
        ("kind", good | {"kind": "eca"}, "gate of agfer, se, cbam, got 'eca'"),
        ("rank", good | {"x": x[0]}, r"x as .*\[N, C, H, W\]"),
        ("integers", good | {"x": x.int()}, "got int32"),
        ("one row", good | {"x": x[:, :, :1]}, "at least 2 x 2"),
        ("no pixels", good | {"x": x[:, :, :0], "pool": False}, "at least 1 x 1"),
        ("missing", good | {"weights": without}, "spatial2.bias is missing"),
        ("unknown", good | {"weights": weights | {"spatial.weight": x}}, "got spatial.weight"),
        ("channels", good | {"x": x[:, :5]}, r"channel.fc1.weight \[R, C\] with C = 5"),
        ("kernel", good | {"weights": weights | {"spatial1.weight": torch.ones(8, 1, 5, 5)}}, "spatial1.weight"),
        ("hidden", good | {"weights": weights | {"channel.fc2.weight": torch.ones(6, 4)}}, "R = 3"),
        ("double", good | {"weights": weights | {"channel.fc2.bias": torch.ones(6).double()}}, "got float64"),
        ("library", good | {"weights": weights | {"channel.fc2.bias": np.ones(6, np.float32)}}, "one library"),
        ("a gradient", good | {"x": x.clone().requires_grad_()}, "without gradient"),
    ]


@pytest.mark.parametrize(("arguments", "message"), [pytest.param(*case[1:], id=case[0]) for case in bad_calls()])
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        attention_gate(**arguments)


def test_a_forced_backend_never_falls_back() -> None:
    x, weights = map_of((1, 6, 4, 4)), weights_of(module_of("se", 6))
    with use_backend("cuda"), pytest.raises(EngineUnavailable, match="cuda: the arrays are in host memory"):
        attention_gate(x, "se", weights)
    require_backend("attention_gate", "cpu")
    doubled = {name: tensor.double() for name, tensor in weights.items()}
    with use_backend("cpu"), pytest.raises(EngineUnavailable, match="takes float32, got float64"):
        attention_gate(x.double(), "se", doubled)


@pytest.mark.slow
def test_more_values_than_32_bits_can_index() -> None:
    """The last image of 8 GB that read as zero; its result takes 2 GB."""
    count = 2**31 // (16 * 32 * 32) + 1
    try:
        x = np.zeros((count, 16, 32, 32), np.float32)
    except MemoryError:
        pytest.skip("no address space for 2**31 values")
    x[-1] = np.random.default_rng(4).random((16, 32, 32), np.float32)
    weights = {name: tensor.numpy() for name, tensor in weights_of(module_of("se", 16)).items()}
    gated = attention_gate(x, "se", weights)
    assert not gated[:-1:1000].any()
    with use_backend("reference"):
        expected = attention_gate(x[-1:], "se", weights)
    assert relative(gated[-1:], expected) <= TOLERANCE["float32"]
