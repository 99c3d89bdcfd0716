"""`lbp` and `clip_to_tensor` on a GPU: values bit for bit, odd sizes, streams, graphs, 64-bit indices."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dfer_edge import kernels
from dfer_edge.inference import registry
from dfer_edge.kernels.clip_to_tensor import crop_resize
from dfer_edge.types import Box

torch = pytest.importorskip("torch")
SPEC = dataclasses.replace(registry.find("slowr50_sa").spec, size=41, mean=(0.485, 0.456, 0.406))
BOXES = [
    Box(2, 3, 39, 36),
    Box(2, 3, 15, 14),
    Box(0, 0, 40, 5),
    Box(-9, -7, 60, 55),
    Box(90, 9, 110, 29),
    Box(5, 6, 6, 7),
]


@pytest.fixture(autouse=True)
def _forced(backend: str) -> Any:
    for op in ("lbp", "clip_to_tensor"):
        if reason := kernels.backends(op)[backend]:
            pytest.skip(f"{backend}: {reason}")
    with kernels.use_backend(backend):
        yield


def on(device: str, array: np.ndarray) -> Any:
    return torch.from_numpy(array).to(device)


@pytest.mark.parametrize("border", ["replicate", "zero"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 1, 7), (3, 17, 13), (2, 64, 64), (2, 33, 66, 3), (1, 8, 4, 3), (0, 3, 3)]
)
def test_lbp(rng: np.random.Generator, device: str, shape: tuple[int, ...], border: str) -> None:
    frames = rng.integers(0, 24, shape, np.uint8)
    with kernels.use_backend("reference"):
        codes, clip = kernels.lbp(frames, border=border), kernels.lbp_clip(frames, border=border)
    out = torch.full(clip.shape, torch.nan, device=device)
    np.testing.assert_array_equal(kernels.lbp(on(device, frames), border=border).cpu(), codes)
    kernels.lbp_clip(on(device, frames), border=border, out=out)
    np.testing.assert_allclose(out.cpu(), clip, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_lbp_at_any_alignment(rng: np.random.Generator, device: str, offset: int) -> None:
    memory = rng.integers(0, 24, 3 * 16 * 32 + 4, np.uint8)
    frames = memory[offset : offset + 3 * 16 * 32].reshape(3, 16, 32)
    shifted = on(device, memory)[offset : offset + 3 * 16 * 32].view(3, 16, 32)
    with kernels.use_backend("reference"):
        expected = kernels.lbp(frames)
    np.testing.assert_array_equal(kernels.lbp(shifted).cpu(), expected)


@pytest.mark.parametrize("size", [1, 7, 41])
@pytest.mark.parametrize("box", BOXES)
def test_pixels(rng: np.random.Generator, device: str, box: Box, size: int) -> None:
    image = rng.integers(0, 256, (37, 41, 3), np.uint8)
    with kernels.use_backend("reference"):
        expected = crop_resize(image, box, size)
    np.testing.assert_array_equal(crop_resize(on(device, image), box, size).cpu(), expected)


@pytest.mark.parametrize("pixel_format", ["rgb", "nv12"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3), ("bfloat16", 1e-2)])
def test_many_clips(rng: np.random.Generator, device: str, pixel_format: str, dtype: str, tolerance: float) -> None:
    frames = rng.integers(0, 256, (2, 54, 40, 3) if pixel_format == "rgb" else (2, 54, 40), np.uint8)
    boxes = [BOXES[:2], BOXES[2:4], BOXES[4:]]
    with kernels.use_backend("reference"):
        expected = kernels.clip_to_tensor(frames, boxes, SPEC, pixel_format=pixel_format)
    actual = kernels.clip_to_tensor(on(device, frames), boxes, SPEC, pixel_format=pixel_format, dtype=dtype)
    np.testing.assert_allclose(actual.float().cpu(), expected, rtol=tolerance, atol=1e-6)
    rows = on(device, np.repeat(frames, 2, 1))[:, ::2]  # rows apart are read in place
    strided = kernels.clip_to_tensor(rows, boxes, SPEC, pixel_format=pixel_format, dtype=dtype)
    assert torch.equal(strided, actual)


def test_launches_go_to_the_current_stream(rng: np.random.Generator, device: str) -> None:
    """A copy that is queued behind slow work on a stream is seen by a kernel on the same stream."""
    first, second = (on(device, rng.integers(0, 24, (4, 64, 64), np.uint8)) for _ in range(2))
    expected, frames = kernels.lbp(second), first.clone()
    slow = torch.randn(4096, 4096, device=device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(20):
            slow = slow @ slow * 1e-3
        frames.copy_(second)
        codes = kernels.lbp(frames)
    stream.synchronize()
    assert torch.equal(codes, expected)


def test_a_graph_replays_with_other_frames_and_boxes(rng: np.random.Generator, device: str) -> None:
    frames = on(device, rng.integers(0, 256, (2, 54, 40, 3), np.uint8))
    table = torch.tensor([BOXES[:2]], device=device).round().int()
    clip = torch.empty(1, 3, 2, 41, 41, device=device)
    codes = torch.empty(2, 54, 40, dtype=torch.uint8, device=device)

    def work() -> None:
        kernels.clip_to_tensor(frames, table, SPEC, out=clip)
        kernels.lbp(frames, out=codes)

    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    frames.copy_(on(device, rng.integers(0, 256, (2, 54, 40, 3), np.uint8)))
    table.copy_(torch.tensor([BOXES[2:4]]).round().int())
    graph.replay()
    torch.cuda.synchronize()
    with kernels.use_backend("reference"):
        np.testing.assert_allclose(
            clip.cpu(), kernels.clip_to_tensor(frames.cpu(), [BOXES[2:4]], SPEC), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(codes.cpu(), kernels.lbp(frames.cpu()))


def test_indices_beyond_32_bits(device: str) -> None:
    if torch.cuda.mem_get_info()[0] < 6 << 30:
        pytest.skip("less than 6 GB of free device memory")
    frames = torch.zeros(2**20 + 1, 32, 64, dtype=torch.uint8, device=device)
    frames[-1] = torch.randint(0, 24, (32, 64), dtype=torch.uint8)
    with kernels.use_backend("reference"):
        expected = kernels.lbp(frames[-1:].cpu())
    codes = kernels.lbp(frames)
    assert torch.equal(codes[-1:].cpu(), expected)
    assert bool((codes[: 2**20 : 2**15] == 255).all())


def test_operators_are_well_formed(device: str) -> None:
    from dfer_edge.kernels.clip_to_tensor import torch_op as clips
    from dfer_edge.kernels.lbp import torch_op

    frames = torch.zeros(2, 20, 21, 3, dtype=torch.uint8, device=device)
    torch.library.opcheck(torch_op.lbp, (frames, "clockwise", "zero"))
    boxes = torch.tensor([[[1, 2, 15, 16], [0, 0, 30, 30]]], dtype=torch.int32, device=device)
    torch.library.opcheck(clips.clip_to_tensor, (frames, boxes, 9, [0.5] * 3, [0.2] * 3, False, "float16"))
