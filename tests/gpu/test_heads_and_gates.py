"""`landmark_pool`, `token_attention` and `attention_gate` on a GPU: values, types, streams, graphs, 64-bit indices."""

from __future__ import annotations

from typing import Any

import pytest

from dfer_edge import kernels
from dfer_edge.kernels.attention_gate import KINDS
from dfer_edge.kernels.token_attention import Folded, fold
from tests.kernels import test_attention_gate as gate
from tests.kernels import test_landmark_pool as pool
from tests.kernels import test_token_attention as token
from tests.kernels.cases import TOLERANCE, relative

torch = pytest.importorskip("torch")
TYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def _forced(backend: str) -> Any:
    for op in ("landmark_pool", "token_attention", "attention_gate"):
        if reason := kernels.backends(op)[backend]:
            pytest.skip(f"{backend}: {reason}")
    with kernels.use_backend(backend):
        yield


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def on(device: str, values: Any) -> Any:
    """Tensors of a list, a mapping or a named tuple on the device."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    if isinstance(values, dict):
        return {name: value.to(device) for name, value in values.items()}
    if isinstance(values, Folded):
        return Folded(*(value.to(device) for value in values))
    return None if values is None else [value.to(device) for value in values]


@pytest.mark.parametrize("dtype", TYPES, ids=name_of)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", [*pool.SHAPES, (512, 512, 14, 14, 18)])
def test_landmark_pool(device: str, shape: tuple[int, ...], gated: bool, norm: bool, dtype: torch.dtype) -> None:
    features, landmarks, gates = pool.example(shape, gated, dtype)
    wide = None if gates is None else [gate.double() for gate in gates]
    with kernels.use_backend("reference"):
        expected = kernels.landmark_pool(features.double(), landmarks, 1.4, wide, norm)
    actual = kernels.landmark_pool(on(device, features), on(device, landmarks), 1.4, on(device, gates), norm)
    assert relative(actual, expected) <= TOLERANCE[name_of(dtype)]


@pytest.mark.parametrize("dtype", TYPES, ids=name_of)
@pytest.mark.parametrize("shape", [*token.SHAPES, (1, 2048, 2048, 512, 7), (33, 2048, 64, 512, 7)])
def test_token_attention(device: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, weights = token.token_of(shape, dtype), fold(token.weights_of(shape, dtype))
    with kernels.use_backend("reference"):
        expected = kernels.token_attention(x.double(), token.doubled(weights), softmax=True)
    for _ in range(3):  # each launch leaves the counter ready for the next
        actual = kernels.token_attention(on(device, x), on(device, weights), softmax=True)
        bound = token.FLOAT32 if dtype == torch.float32 else TOLERANCE[name_of(dtype)]
        assert relative(actual, expected) <= bound


@pytest.mark.parametrize("dtype", TYPES, ids=name_of)
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [*gate.SHAPES, (1, 512, 28, 28), (1, 128, 112, 112)])
def test_attention_gate(device: str, shape: tuple[int, ...], kind: str, pooled: bool, dtype: torch.dtype) -> None:
    x, weights = gate.map_of(shape, dtype), gate.weights_of(gate.module_of(kind, shape[1]), dtype)
    actual = kernels.attention_gate(on(device, x), kind, on(device, weights), pooled)
    assert relative(actual, gate.expected_of(x, weights, kind, pooled)) <= TOLERANCE[name_of(dtype)]


def test_gradients(device: str) -> None:
    features, landmarks, gates = pool.example((2, 64, 14, 14, 18), True)
    assert gates is not None
    seed = torch.randn(2, 19, 64)

    def gradients(*arrays: Any) -> Any:
        variables = [array.detach().requires_grad_() for array in arrays]
        pooled = kernels.landmark_pool(variables[0], landmarks.to(variables[0].device), 1.4, variables[1:])
        return torch.autograd.grad(pooled, variables, seed.to(pooled))

    with kernels.use_backend("reference"):
        expected = gradients(features.double(), *(gate.double() for gate in gates))
    for ours, theirs in zip(gradients(on(device, features), *on(device, gates)), expected, strict=True):
        assert relative(ours, theirs) <= TOLERANCE["float32"]


def test_nan_landmarks_give_nan_without_waiting_for_the_device(device: str) -> None:
    features, landmarks, _ = pool.example((2, 8, 14, 14, 5), False)
    landmarks[1, 3, 0] = torch.nan
    nan = kernels.landmark_pool(on(device, features), on(device, landmarks), 1.4).isnan().cpu()
    assert nan[1, 3].all()
    assert nan.sum() == 8


def calls(device: str) -> list[Any]:
    features, landmarks, gates = (on(device, value) for value in pool.example((16, 512, 14, 14, 18), True))
    x, weights = on(device, token.token_of((1, 2048))), on(device, fold(token.weights_of((1, 2048, 64, 512, 7))))
    map_ = on(device, gate.map_of((1, 256, 56, 56)))
    parameters = {kind: on(device, gate.weights_of(gate.module_of(kind, 256))) for kind in KINDS}
    return [
        lambda: kernels.landmark_pool(features, landmarks, 1.4, gates),
        lambda: kernels.token_attention(x, weights),
        *(lambda kind=kind: kernels.attention_gate(map_, kind, parameters[kind]) for kind in KINDS),
    ]


def test_on_a_stream_and_in_a_graph(device: str) -> None:
    """The caller's stream; captured once, replayed with the same result."""
    for call in calls(device):
        expected = call()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
            torch.testing.assert_close(call(), expected, rtol=0, atol=0)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = call()
        for _ in range(3):
            captured.fill_(torch.nan)
            graph.replay()
            torch.testing.assert_close(captured, expected, rtol=0, atol=0)


def test_more_elements_than_int32_counts(device: str) -> None:
    """Features of 2^31 elements and some: the last image is pooled right."""
    if torch.cuda.get_device_properties(0).total_memory < 24 << 30:
        pytest.skip("needs 24 GiB of device memory")
    count = (2**31) // (512 * 14 * 14) + 2
    features = torch.zeros(count, 512, 14, 14, dtype=torch.float16, device=device)
    features[-1] = 1
    landmarks = torch.full((count, 18, 2), 6.5, device=device)
    pooled = kernels.landmark_pool(features, landmarks, 1.4)
    assert (pooled[:-1] == 0).all()
    torch.testing.assert_close(pooled[-1, -1], torch.ones_like(pooled[-1, -1]))
    gated = kernels.attention_gate(
        features.view(-1, 512, 14, 14)[-1:],
        "se",
        {
            name: torch.zeros_like(value).to(device)
            for name, value in gate.weights_of(gate.module_of("se", 512), torch.float16).items()
        },
    )
    torch.testing.assert_close(gated, torch.full_like(gated, 0.5))
