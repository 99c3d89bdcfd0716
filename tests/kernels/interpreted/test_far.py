"""Indices beyond 32 bits in the Triton kernels: the last program of a grid over memory of which few pages exist."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from dfer_edge import kernels
from dfer_edge.kernels.attention_gate import triton_impl as gate
from dfer_edge.kernels.clip_to_tensor import triton_impl as crop
from dfer_edge.kernels.landmark_pool import triton_impl as pool
from dfer_edge.kernels.token_attention import triton_impl as token

BEYOND = 2**31


@pytest.fixture(autouse=True)
def _last_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter visits only the last index of each axis of a grid, and copies nothing back to where it lies."""
    from triton.runtime import interpreter

    def last(*arguments: int) -> range:
        # Kernels see this name too: only the walk over the grid is cut short.
        of_grid = sys._getframe(1).f_code is interpreter.GridExecutor.__call__.__code__
        return range(arguments[0] - 1, arguments[0]) if of_grid else range(*arguments)

    monkeypatch.setattr(interpreter, "range", last, raising=False)
    monkeypatch.setattr(interpreter.GridExecutor, "_restore_args_dev", lambda *_: None)
    with kernels.use_backend("triton"):
        yield


def zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> torch.Tensor:
    """Without touching a page; torch.zeros would write them all."""
    try:
        return torch.from_numpy(np.zeros(shape, dtype))
    except MemoryError:
        pytest.skip("no address space for more than 2**31 elements")


def test_lbp(rng: np.random.Generator) -> None:
    frames = zeros((BEYOND // 2048 + 1, 32, 64), np.uint8)
    frames[-1] = torch.from_numpy(rng.integers(0, 24, (32, 64), np.uint8))
    codes = kernels.lbp(frames, out=zeros(tuple(frames.shape), np.uint8))
    with kernels.use_backend("reference"):
        expected = kernels.lbp(frames[-1:])[0]
    # A program makes 512 codes.
    assert torch.equal(codes[-1].flatten()[-512:], expected.flatten()[-512:])


def test_clip_to_tensor(rng: np.random.Generator) -> None:
    row = 2**30
    frames = torch.as_strided(zeros((7 * row,), np.uint8), (2, 3, 4, 3), (4 * row, row, 3, 1))
    frames[1] = torch.from_numpy(rng.integers(1, 256, (3, 4, 3), np.uint8))
    plane = BEYOND // 2 + 16  # the last of three begins beyond
    out = torch.as_strided(zeros((3 * plane,), np.float16), (1, 3, 2, 3, 3), (0, plane, 9, 3, 1))
    boxes = np.array([[[0, 0, 3, 3]] * 2], np.int32)
    crop.run(frames, boxes, ([0.0] * 3, [1.0] * 3), False, out)
    expected = frames[1, :, :3].permute(2, 0, 1) / 255
    torch.testing.assert_close(out[0, :, 1], expected.half(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("gated", [False, True])
def test_landmark_pool(rng: np.random.Generator, gated: bool) -> None:
    channels, side = pool.BLOCK_C, 16
    count = BEYOND // (channels * side * side) + 1
    features, points = zeros((count, channels, side, side)), zeros((count, 2, 2))
    features[-1] = torch.from_numpy(rng.random((channels, side, side), np.float32))
    points[-1] = torch.tensor([[3.0, 5.0], [12.0, 9.0]])
    sizes = ((count, side, side), (count, channels, side), (count, channels, side))
    gates = [zeros(size) for size in sizes] if gated else None
    for gate_values in gates or ():
        gate_values[-1] = torch.from_numpy(rng.random(gate_values.shape[1:], np.float32))
    out = zeros((count, 3, channels))
    pool.run(features, points, 5.0, gates, False, out)
    with kernels.use_backend("reference"):
        expected = kernels.landmark_pool(features[-1:], points[-1:], 5.0, gates and [values[-1:] for values in gates])
    torch.testing.assert_close(out[-1:], expected, rtol=1e-5, atol=1e-6)


def test_attention_gate(rng: np.random.Generator) -> None:
    channels, side = gate.BLOCK_C, 8
    count = BEYOND // (channels * side * side) + 1
    x, out = zeros((count, channels, side, side)), zeros((count, channels, side // 2, side // 2))
    x[-1] = torch.from_numpy(rng.random((channels, side, side), np.float32))
    scale, plane = zeros((count, channels)), zeros((count, side, side))
    scale[-1], plane[-1] = 0.5, 2
    gate._apply(x, scale, plane, "cbam", True, out)
    torch.testing.assert_close(out[-1], torch.nn.functional.max_pool2d(x[-1], 2))
    whole = zeros((count, channels, side, side))
    gate._apply(x, scale, plane, "cbam", False, whole)
    torch.testing.assert_close(whole[-1], x[-1])


def test_token_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last row of the weights begins beyond 2**31."""
    width, units = 2**25 + 8, 65
    monkeypatch.setattr(token, "BLOCK_D", 2**20)
    monkeypatch.setattr(token, "BLOCK_H", 1)
    monkeypatch.setattr(token.workspace, "counter", lambda _: torch.tensor([units - 1], dtype=torch.int32))
    x, weight = zeros((1, width), np.float16), zeros((units, width), np.float16)
    x[0, -1], weight[-1, -1] = 3, 0.5
    bias, classifier = torch.full((units,), 0.25).half(), torch.zeros(1, units).half()
    classifier[0, -1] = 2
    out = torch.zeros(1, 1).half()
    token.run(x, [weight, bias, classifier, torch.zeros(1).half()], False, out)
    assert out.item() == 2 * (3 * 0.5 + 0.25)
