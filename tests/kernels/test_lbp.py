"""`lbp`: the definition against loops, scikit-image and OpenCV; every backend against the definition, bit for bit."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, kernels
from dfer_edge.kernels.lbp import BIT_ORDERS, BORDERS
from dfer_edge.kernels.lbp.reference import luma

SHAPES = [(1, 1, 1), (2, 1, 7), (3, 5, 1), (2, 2, 2), (2, 17, 13), (1, 37, 64), (2, 16, 65), (3, 33, 131)]


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Few levels, so that neighbours are often equal."""
    return rng.integers(0, 24, shape, np.uint8) * np.uint8(10)


def by_loops(frame: np.ndarray, border: str) -> np.ndarray:
    """Clockwise from the top left, bit 0 first."""
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    height, width = frame.shape
    codes = np.zeros_like(frame)
    for y, x in itertools.product(range(height), range(width)):
        for bit, (down, across) in enumerate(around):
            v, u = min(max(y + down, 0), height - 1), min(max(x + across, 0), width - 1)
            outside = (v, u) != (y + down, x + across)
            neighbour = 0 if outside and border == "zero" else frame[v, u]
            codes[y, x] |= (1 << bit) * int(neighbour >= frame[y, x])
    return codes


@pytest.fixture(params=["reference", "cpu"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_is_the_definition(rng: np.random.Generator, backend: str, shape: tuple[int, ...], border: str) -> None:
    frames = noise(rng, *shape)
    with kernels.use_backend(backend):
        actual = kernels.lbp(frames, border=border)
    assert actual.dtype == np.uint8
    np.testing.assert_array_equal(actual, [by_loops(frame, border) for frame in frames])


@pytest.mark.parametrize("order", BIT_ORDERS)
def test_bit_orders_are_permutations_of_bits(rng: np.random.Generator, backend: str, order: str) -> None:
    """Where each bit of the default goes: 0 is the top left neighbour, then clockwise."""
    place = {"clockwise": range(8), "clockwise_msb": range(7, -1, -1), "skimage": (3, 2, 1, 0, 7, 6, 5, 4)}[order]
    frames = noise(rng, 1, 9, 11)
    bits = np.unpackbits(by_loops(frames[0], "replicate")[..., None], axis=-1, bitorder="little")
    expected = sum(bits[..., k].astype(int) << place[k] for k in range(8))
    with kernels.use_backend(backend):
        np.testing.assert_array_equal(kernels.lbp(frames, bit_order=order)[0], expected)


def test_agrees_with_scikit_image_where_the_definitions_coincide(rng: np.random.Generator, backend: str) -> None:
    """The straight neighbours everywhere; all eight where a frame varies along one axis only.

    scikit-image puts the diagonal neighbours on the circle and interpolates; outside the frame it reads zeros.
    """
    feature = pytest.importorskip("skimage.feature")
    frame = rng.permutation(np.arange(30 * 8, dtype=np.uint8)).reshape(20, 12)
    straight = 0b01010101
    with kernels.use_backend(backend):
        ours = kernels.lbp(frame[None], bit_order="skimage", border="zero")[0]
        np.testing.assert_array_equal(ours & straight, feature.local_binary_pattern(frame, 8, 1).astype(int) & straight)
        for image in (np.tile(frame[:, :1], (1, 16)), np.tile(frame[:1], (16, 1))):
            ours = kernels.lbp(image[None], bit_order="skimage")[0]
            theirs = feature.local_binary_pattern(image, 8, 1)
            np.testing.assert_array_equal(ours[1:-1, 1:-1], theirs[1:-1, 1:-1])


def test_grey_is_opencvs(rng: np.random.Generator, backend: str) -> None:
    image = rng.integers(0, 256, (64, 50, 3), np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(luma(image), grey)
    with kernels.use_backend(backend):
        np.testing.assert_array_equal(kernels.lbp(image[None]), kernels.lbp(grey[None]))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("shape", SHAPES)
def test_cpu_is_the_reference(
    rng: np.random.Generator, shape: tuple[int, ...], channels: tuple[int, ...], border: str
) -> None:
    frames = noise(rng, *shape, *channels)
    with kernels.use_backend("reference"):
        codes, clip = kernels.lbp(frames, border=border), kernels.lbp_clip(frames, border=border)
    out = np.full((3, *shape), np.nan, np.float32)
    np.testing.assert_array_equal(kernels.lbp(frames, border=border), codes)
    assert kernels.lbp_clip(frames, border=border, out=out) is out
    np.testing.assert_allclose(out, clip, rtol=1e-6, atol=1e-7)


def test_clip_is_the_normalised_codes(rng: np.random.Generator, backend: str) -> None:
    frames, mean, std = noise(rng, 2, 20, 31, 3), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with kernels.use_backend(backend):
        clip, codes = kernels.lbp_clip(frames, mean, std), kernels.lbp(frames).astype(np.float64)
    assert clip.dtype == np.float32
    for channel in range(3):
        expected = (codes / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(clip[channel], expected, rtol=1e-6, atol=1e-9)


def test_threads_change_nothing(rng: np.random.Generator) -> None:
    frames = noise(rng, 7, 19, 23, 3)
    once, clip = kernels.lbp(frames), kernels.lbp_clip(frames)
    with kernels.use_threads(3):
        np.testing.assert_array_equal(kernels.lbp(frames), once)
        np.testing.assert_array_equal(kernels.lbp_clip(frames), clip)


def test_layouts(rng: np.random.Generator, backend: str) -> None:
    """Views with steps, reversed and transposed; read-only; nothing but out is written."""
    frames = noise(rng, 4, 30, 26)
    with kernels.use_backend(backend):
        for view in (frames[::2, ::-1, ::3], frames.transpose(2, 1, 0), frames[:, 3:9, 4:8]):
            np.testing.assert_array_equal(kernels.lbp(view), kernels.lbp(view.copy()))
        frames.flags.writeable = False
        canvas = np.full((6, 30, 26), 77, np.uint8)
        kernels.lbp(frames, out=canvas[1:5])
        np.testing.assert_array_equal(canvas[1:5], kernels.lbp(frames))
        assert (canvas[[0, 5]] == 77).all()


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (0, 5, 5, 3)])
def test_empty(backend: str, shape: tuple[int, ...]) -> None:
    with kernels.use_backend(backend):
        assert kernels.lbp(np.zeros(shape, np.uint8)).shape == shape[:3]
        assert kernels.lbp_clip(np.zeros(shape, np.uint8)).shape == (3, *shape[:3])


def test_bad_input() -> None:
    frames = np.zeros((2, 5, 5), np.uint8)
    for bad in (frames.astype(np.float32), frames[0], frames[..., None, None], np.zeros((2, 5, 5, 4), np.uint8)):
        with pytest.raises(InvalidInput, match=r"expected frames as uint8 \[T, H, W\].*got"):
            kernels.lbp(bad)
    with pytest.raises(InvalidInput, match="numpy array or torch tensor, got list"):
        kernels.lbp([[1]])
    with pytest.raises(InvalidInput, match="bit order"):
        kernels.lbp(frames, bit_order="spiral")
    with pytest.raises(InvalidInput, match="border"):
        kernels.lbp(frames, border="wrap")
    with pytest.raises(InvalidInput, match="positive standard deviations"):
        kernels.lbp_clip(frames, std=(1.0, 0.0, 1.0))
    for out in (np.empty((2, 5, 4), np.uint8), np.empty((2, 5, 5), np.int8), np.empty((2, 5, 10), np.uint8)[..., ::2]):
        with pytest.raises(InvalidInput, match="expected out"):
            kernels.lbp(frames, out=out)


def test_torch_in_torch_out(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    frames = noise(rng, 2, 14, 15, 3)
    tensor = torch.from_numpy(frames)
    codes, clip = kernels.lbp(tensor), kernels.lbp_clip(tensor.transpose(1, 2), (0.5, 0.4, 0.3))
    np.testing.assert_array_equal(codes.numpy(), kernels.lbp(frames))
    np.testing.assert_array_equal(clip.numpy(), kernels.lbp_clip(frames.transpose(0, 2, 1, 3), (0.5, 0.4, 0.3)))
    with kernels.use_backend("reference"):
        np.testing.assert_array_equal(kernels.lbp(tensor).numpy(), codes.numpy())
    with pytest.raises(InvalidInput, match=r"input: torch on cpu, out: numpy on cpu"):
        kernels.lbp(tensor, out=np.empty((2, 14, 15), np.uint8))


def test_torch_operators_are_well_formed(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    from dfer_edge.kernels.lbp import torch_op

    frames = torch.from_numpy(noise(rng, 2, 9, 8, 3))
    torch.library.opcheck(torch_op.lbp, (frames, "clockwise", "zero"))
    torch.library.opcheck(torch_op.lbp_clip, (frames[..., 0], [0.0] * 3, [1.0] * 3, "skimage", "replicate"))


def test_torch_export_keeps_the_operator(rng: np.random.Generator) -> None:
    """One node of the graph, with the fake's shapes."""
    torch = pytest.importorskip("torch")

    class Codes(torch.nn.Module):
        def forward(self, frames: object) -> object:
            return kernels.lbp(frames)

    program = torch.export.export(Codes(), (torch.from_numpy(noise(rng, 2, 9, 8)),))
    (node,) = [node for node in program.graph.nodes if node.op == "call_function"]
    assert str(node.target) == "dfer_edge.lbp.default"
    assert node.meta["val"].shape == (2, 9, 8)


@pytest.mark.slow
def test_more_than_two_billion_pixels() -> None:
    """Indices beyond 32 bits; only where 6 GB are free."""
    memory = Path("/proc/meminfo")
    available = re.search(r"MemAvailable:\s+(\d+) kB", memory.read_text()) if memory.is_file() else None
    if not available or int(available[1]) < 6 << 20:
        pytest.skip("less than 6 GB of memory available")
    frames = np.zeros((2**20 + 1, 32, 64), np.uint8)
    frames[-1] = noise(np.random.default_rng(1), 32, 64)
    codes = kernels.lbp(frames)
    np.testing.assert_array_equal(codes[-1], by_loops(frames[-1], "replicate"))
    assert (codes[: 2**20 : 2**17] == 255).all()
