"""`landmark_pool`: its definition written again, hostile inputs, gradients, every backend of this machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from dfer_edge import InvalidInput
from dfer_edge.errors import EngineUnavailable
from dfer_edge.kernels import dispatch, landmark_pool, use_backend, use_threads
from dfer_edge.kernels.landmark_pool import reference
from tests.kernels.cases import HOST_BACKENDS, TOLERANCE, poisoned, relative, require_backend, strided

__all__ = ["poisoned"]

# N, C, H, W, J: the network's, ones, primes, more landmarks than lanes of any register group, wide and narrow maps.
SHAPES = [
    (2, 512, 14, 14, 18),
    (1, 1, 1, 1, 0),
    (1, 1, 1, 1, 1),
    (2, 7, 5, 3, 1),
    (3, 13, 7, 11, 37),
    (1, 5, 2, 67, 97),
    (1, 3, 31, 2, 15),
    (2, 6, 1, 16, 31),
    (0, 3, 2, 2, 4),
]


def example(
    shape: tuple[int, ...], gated: bool, dtype: torch.dtype = torch.float32, seed: int = 5
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor] | None]:
    count, channels, height, width, nodes = shape
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, channels, height, width, generator=generator).to(dtype)
    # Some landmarks lie outside the map.
    landmarks = torch.rand(count, nodes, 2, generator=generator) * torch.tensor([width + 6, height + 6]) - 3
    sizes = ((count, height, width), (count, channels, width), (count, channels, height))
    gates = [torch.rand(size, generator=generator).to(dtype) for size in sizes]
    return features, landmarks, gates if gated else None


def written_again(
    features: torch.Tensor, landmarks: torch.Tensor, sigma: float, gates: list[torch.Tensor] | None, norm: bool
) -> torch.Tensor:
    """One landmark and one cell at a time, float64."""
    x = features.double().numpy().copy()
    count, channels, height, width = x.shape
    if gates is not None:
        g1, g2, g3 = (gate.double().numpy() for gate in gates)
        for h in range(height):
            for w in range(width):
                x[:, :, h, w] *= (g1[:, h, w, None] + g2[:, :, w] + g3[:, :, h]) / 3
    out = np.zeros((count, landmarks.shape[1] + 1, channels))
    for n in range(count):
        for j, (u, v) in enumerate(landmarks[n].double().tolist()):
            total = 0.0
            for h in range(height):
                for w in range(width):
                    weight = math.exp(-((w - u) ** 2 + (h - v) ** 2) / (2 * sigma**2))
                    out[n, j] += weight * x[n, :, h, w]
                    total += weight
            out[n, j] /= total if norm else height * width
        out[n, -1] = x[n].reshape(channels, -1).mean(1)
    return torch.from_numpy(out)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_values(shape: tuple[int, ...], gated: bool, norm: bool, backend: str) -> None:
    require_backend("landmark_pool", backend)
    features, landmarks, gates = example(shape, gated)
    expected = written_again(features, landmarks, 1.4, gates, norm)
    with use_backend(backend):
        actual = landmark_pool(features, landmarks, 1.4, gates, norm)
        arrays = None if gates is None else [gate.numpy() for gate in gates]
        same = landmark_pool(features.numpy(), landmarks.numpy(), 1.4, arrays, norm)
    assert isinstance(same, np.ndarray)
    assert actual.dtype == torch.float32
    assert relative(actual, expected) <= TOLERANCE["float32"]
    np.testing.assert_array_equal(same, actual) if backend == "cpu" else np.testing.assert_allclose(
        same, actual, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(dtype: torch.dtype, gated: bool) -> None:
    """The CPU form declines them and the definition takes them, with sums in float32 or wider."""
    features, landmarks, gates = example((2, 33, 14, 14, 18), gated, dtype)
    expected = written_again(features, landmarks, 1.4, gates, False)
    actual = landmark_pool(features, landmarks, 1.4, gates)
    assert actual.dtype == dtype
    assert relative(actual, expected) <= TOLERANCE[str(dtype).removeprefix("torch.")]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_do_not_change_a_bit(threads: int) -> None:
    require_backend("landmark_pool", "cpu")
    for shape in ((1, 37, 14, 14, 18), (5, 4, 3, 3, 2)):
        features, landmarks, gates = example(shape, True)
        one = landmark_pool(features, landmarks, 1.4, gates)
        with use_threads(threads):
            assert torch.equal(landmark_pool(features, landmarks, 1.4, gates), one)


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_strided_inputs_are_read_right(backend: str) -> None:
    require_backend("landmark_pool", backend)
    features, landmarks, gates = example((2, 8, 6, 5, 3), True)
    assert gates is not None
    views = [strided(array) for array in (features, landmarks, *gates)]
    assert not any(view.is_contiguous() for view in views)
    with use_backend(backend):
        expected = landmark_pool(features, landmarks, 1.4, gates)
        assert torch.equal(landmark_pool(views[0], views[1], 1.4, views[2:]), expected)
        last = features.contiguous(memory_format=torch.channels_last)
        assert torch.equal(landmark_pool(last, landmarks, 1.4, gates), expected)
        arrays = [strided(array.numpy()) for array in (features, landmarks, *gates)]
        assert relative(landmark_pool(arrays[0], arrays[1], 1.4, arrays[2:]), expected) <= 1e-6


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("far", [1e3, -1e3, 1e9, -3e38])
def test_landmarks_far_outside(far: float, backend: str) -> None:
    """Nothing of the map; divided by the sum of weights that are all 0, the nearest cell."""
    require_backend("landmark_pool", backend)
    features, landmarks, _ = example((2, 6, 5, 7, 3), False)
    landmarks[0, 1, 0] = far
    with use_backend(backend):
        plain = landmark_pool(features, landmarks, 1.4)
        normed = landmark_pool(features, landmarks, 1.4, norm_heat=True)
    assert (plain[0, 1] == 0).all()
    assert (plain[0, 0] != 0).all()
    rows = torch.exp(-((torch.arange(5) - landmarks[0, 1, 1]) ** 2) / (2 * 1.4**2))
    edge = features[0, :, :, -1 if far > 0 else 0] @ (rows / rows.sum())
    torch.testing.assert_close(normed[0, 1], edge, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", HOST_BACKENDS)
@pytest.mark.parametrize("sigma", [1e-300, 1e-30, 1e-3])
def test_a_tiny_sigma_picks_one_cell(sigma: float, backend: str) -> None:
    require_backend("landmark_pool", backend)
    features, _, _ = example((1, 6, 5, 7, 0), False)
    landmarks = torch.tensor([[[3.0, 2.0], [3.5, 2.0]]])
    with use_backend(backend):
        pooled = landmark_pool(features, landmarks, sigma)
    torch.testing.assert_close(pooled[0, 0], features[0, :, 2, 3] / 35)
    assert (pooled[0, 1] == 0).all()


@pytest.mark.parametrize("backend", HOST_BACKENDS)
def test_a_huge_sigma_is_the_mean(backend: str) -> None:
    require_backend("landmark_pool", backend)
    features, landmarks, gates = example((2, 9, 6, 4, 3), True)
    with use_backend(backend):
        pooled = landmark_pool(features, landmarks, 1e6, gates)
    torch.testing.assert_close(pooled[:, :3], pooled[:, 3:].expand(-1, 3, -1))


def test_nan_in_one_channel_stays_there() -> None:
    features, landmarks, _ = example((2, 9, 6, 4, 3), False)
    features[1, 4, 2, 2] = math.nan
    for backend in HOST_BACKENDS:
        require_backend("landmark_pool", backend)
        with use_backend(backend):
            pooled = landmark_pool(features, landmarks, 1.4)
        assert pooled[1, :, 4].isnan().all()
        assert pooled.isnan().sum() == 4


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_gradients(gated: bool, norm: bool) -> None:
    """Against differences, and against autograd through the definition."""
    features, landmarks, gates = example((2, 3, 4, 5, 3), gated, torch.float64)
    landmarks = landmarks.double()
    variables = [array.requires_grad_() for array in (features, *(gates or ()))]

    def pool(*arrays: torch.Tensor) -> torch.Tensor:
        return landmark_pool(arrays[0], landmarks, 1.4, arrays[1:] or None, norm)

    assert torch.autograd.gradcheck(pool, variables)
    seed = torch.randn_like(pool(*variables))
    actual = torch.autograd.grad(pool(*variables), variables, seed)
    defined = reference.pool(features, landmarks, 1.4, gates, norm)
    for ours, theirs in zip(actual, torch.autograd.grad(defined, variables, seed), strict=True):
        assert relative(ours, theirs) <= 1e-12


def test_gradients_of_the_narrow_types() -> None:
    features, landmarks, gates = example((2, 16, 14, 14, 18), True)
    assert gates is not None
    wide = [array.double().requires_grad_() for array in (features, *gates)]
    seed = torch.randn(2, 19, 16)
    expected = torch.autograd.grad(reference.pool(wide[0], landmarks, 1.4, wide[1:], False), wide, seed.double())
    for dtype in (torch.float32, torch.float16):
        narrow = [array.detach().to(dtype).requires_grad_() for array in wide]
        pooled = landmark_pool(narrow[0], landmarks, 1.4, narrow[1:])
        for ours, theirs in zip(torch.autograd.grad(pooled, narrow, seed.to(dtype)), expected, strict=True):
            assert ours.dtype == dtype
            assert relative(ours, theirs) <= TOLERANCE[str(dtype).removeprefix("torch.")]


def test_the_operator_keeps_its_promises() -> None:
    from dfer_edge.kernels.landmark_pool.torch_op import landmark_pool as operator

    for gated in (False, True):
        features, landmarks, gates = example((2, 5, 4, 3, 3), gated)
        features.requires_grad_()
        torch.library.opcheck(operator, (features, landmarks, 1.4, *(gates or (None,) * 3), False))


def test_compiled_code_calls_it() -> None:
    features, landmarks, _ = example((2, 5, 4, 3, 3), False)
    compiled = torch.compile(lambda x, p: landmark_pool(x, p, 1.4) * 2, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features, landmarks), landmark_pool(features, landmarks, 1.4) * 2)


def bad_calls() -> list[tuple[str, dict[str, Any], str]]:
    features, landmarks, gates = example((2, 3, 4, 5, 6), True)
    assert gates is not None
    nan, infinite = landmarks.clone(), landmarks.clone()
    nan[1, 4, 1], infinite[0, 2, 0] = math.nan, math.inf
    good: dict[str, Any] = {"features": features, "landmarks": landmarks, "sigma": 1.4}
    return [
        ("rank", good | {"features": features[0]}, r"features as .*\[N, C, H, W\]"),
        ("integers", good | {"features": features.int()}, "got int32"),
        ("a list", good | {"features": [[1.0]]}, "got list"),
        ("no cells", good | {"features": features[:, :, :0]}, "at least one channel and cell"),
        ("no channels", good | {"features": features[:, :0]}, "at least one channel and cell"),
        ("half landmarks", good | {"landmarks": landmarks.half()}, "landmarks as float32 or float64"),
        ("other batch", good | {"landmarks": landmarks[:1]}, r"landmarks \[2, J, 2\]"),
        ("three coordinates", good | {"landmarks": torch.zeros(2, 6, 3)}, r"landmarks \[2, J, 2\]"),
        ("mixed", good | {"landmarks": landmarks.numpy()}, "one library"),
        ("sigma 0", good | {"sigma": 0.0}, "sigma above 0"),
        ("sigma below 0", good | {"sigma": -1.0}, "sigma above 0"),
        ("sigma nan", good | {"sigma": math.nan}, "sigma above 0"),
        ("sigma inf", good | {"sigma": math.inf}, "sigma above 0"),
        ("nan", good | {"landmarks": nan}, "y = nan at landmark 4 of image 1"),
        ("inf", good | {"landmarks": infinite}, "x = inf at landmark 2 of image 0"),
        ("two gates", good | {"gates": gates[:2]}, "gates over width"),
        ("swapped gates", good | {"gates": [gates[0], gates[2], gates[1]]}, r"over height .* as \[2, 3, 5\]"),
        ("double gates", good | {"gates": [gate.double() for gate in gates]}, "got float64"),
        ("gate library", good | {"gates": [gate.numpy() for gate in gates]}, "one library"),
        ("a gradient", good | {"landmarks": landmarks.clone().requires_grad_()}, "without gradient"),
    ]


@pytest.mark.parametrize(("arguments", "message"), [pytest.param(*case[1:], id=case[0]) for case in bad_calls()])
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        landmark_pool(**arguments)


def test_a_forced_backend_never_falls_back() -> None:
    features, landmarks, _ = example((1, 3, 4, 5, 6), False)
    with use_backend("cuda"), pytest.raises(EngineUnavailable, match="cuda: the arrays are in host memory"):
        landmark_pool(features, landmarks, 1.4)
    require_backend("landmark_pool", "cpu")
    with use_backend("cpu"), pytest.raises(EngineUnavailable, match="takes float32, got float64"):
        landmark_pool(features.double(), landmarks, 1.4)


def test_contiguous_input_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(dispatch, "run", lambda op, features, *rest: seen.append(features.ctypes.data))
    features, landmarks, _ = example((1, 3, 4, 5, 6), False)
    landmark_pool(features.numpy(), landmarks.numpy(), 1.4)
    assert seen == [features.data_ptr()]


@pytest.mark.slow
def test_more_features_than_32_bits_can_index() -> None:
    """The last image of 8 GB that read as zero; only its pages exist."""
    channels, side = 64, 64
    count = 2**31 // (channels * side * side) + 1
    try:
        features = np.zeros((count, channels, side, side), np.float32)
    except MemoryError:
        pytest.skip("no address space for 2**31 values")
    features[-1] = np.random.default_rng(2).random((channels, side, side), np.float32)
    landmarks = np.full((count, 2, 2), [[20.0, 30.0], [5.0, 60.0]])
    pooled = landmark_pool(features, landmarks, 9.0)
    assert not pooled[:-1].any()
    with use_backend("reference"):
        expected = landmark_pool(features[-1:], landmarks[-1:], 9.0)
    assert relative(pooled[-1:], expected) <= TOLERANCE["float32"]
