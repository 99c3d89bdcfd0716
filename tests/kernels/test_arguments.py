"""What the public functions share: outputs that must not be written, bad moments, arguments of other types."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from dfer_edge import InvalidInput, kernels
from dfer_edge.inference import registry
from dfer_edge.kernels import affine, arrays
from dfer_edge.kernels.clip_to_tensor import normalise

SPEC = dataclasses.replace(registry.find("slowr50_sa").spec, size=5)
FRAMES = np.zeros((2, 6, 7, 3), np.uint8)
BOXES = [(0, 0, 5, 5)] * 2


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("shift", [-30, 0, 30])
def test_out_may_not_share_memory_with_the_input(library: str, shift: int) -> None:
    memory = np.zeros(3 * 20 * 10 + 60, np.uint8)
    frames, out = (memory[at : at + 600].reshape(3, 20, 10) for at in (30, 30 + shift))
    if library == "torch":
        frames, out = torch.from_numpy(frames), torch.from_numpy(out)
    with pytest.raises(InvalidInput, match="apart from the input"):
        kernels.lbp(frames, out=out)


def test_out_may_lie_beside_the_input() -> None:
    memory = np.full((4, 20, 10), 9, np.uint8)
    kernels.lbp(memory[1:2], out=memory[2:3])
    kernels.lbp(memory[1:2, ::-1, ::-1], out=memory[0:1])
    assert (memory[[0, 2]] == 255).all()
    assert (memory[[1, 3]] == 9).all()


def test_the_span_of_a_view_is_what_it_can_reach() -> None:
    memory = np.zeros((4, 6), np.int16)
    start = memory.ctypes.data
    assert arrays._span(memory) == (start, start + 48)
    assert arrays._span(memory[::-2, 1:4]) == (start + 14, start + 44)
    assert arrays._span(memory[:0]) == (start, start)
    assert arrays._span(torch.from_numpy(memory)[1:3, ::2]) == (start + 12, start + 12 + 12 + 10)


def test_out_is_apart_from_every_frame_of_a_sequence() -> None:
    memory = np.zeros(2 * 3 * 2 * 25, np.float32)
    out, inside = memory[:150].reshape(3, 2, 5, 5), memory.view(np.uint8)[:126].reshape(6, 7, 3)
    with pytest.raises(InvalidInput, match="apart from the input"):
        kernels.clip_to_tensor([FRAMES[0], inside], BOXES, SPEC, out=out)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_read_only_out_is_refused(backend: str) -> None:
    codes, clip = np.zeros((2, 6, 7), np.uint8), np.zeros((3, 2, 5, 5), np.float32)
    for out in (codes, clip):
        out.flags.writeable = False
    with kernels.use_backend(backend):
        with pytest.raises(InvalidInput, match="read-only"):
            kernels.lbp(FRAMES, out=codes)
        with pytest.raises(InvalidInput, match="read-only"):
            kernels.clip_to_tensor(FRAMES, BOXES, SPEC, out=clip)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.5, 0.5), (1, 1, 1)),
        ((0.5, 0.5, math.nan), (1, 1, 1)),
        ((0, 0, 0), (1, 0, 1)),
        ((0, 0, 0), (1, -1, 1)),
        ((0, 0, 0), (1, math.inf, 1)),
        ((0, 0, 0), (1, math.nan, 1)),
    ],
)
def test_moments(mean: Any, std: Any) -> None:
    spec = dataclasses.replace(SPEC, mean=mean, std=std)
    for call in (
        lambda: affine.moments(mean, std),
        lambda: kernels.lbp_clip(FRAMES, mean, std),
        lambda: kernels.clip_to_tensor(FRAMES, BOXES, spec),
        lambda: normalise(FRAMES, spec),
    ):
        with pytest.raises(InvalidInput, match="three finite, positive standard deviations"):
            call()


def test_arguments_of_other_types() -> None:
    features, landmarks = np.zeros((1, 2, 3, 4), np.float32), np.zeros((1, 5, 2))
    for call, message in (
        (lambda: kernels.clip_to_tensor(None, BOXES, SPEC), "frames as an array or a sequence of them, got NoneType"),
        (lambda: kernels.clip_to_tensor(FRAMES, None, SPEC), "boxes as a sequence or an array, got NoneType"),
        (lambda: kernels.landmark_pool(features, landmarks, "1.4"), "a number sigma above 0, in cells, got '1.4'"),
        (lambda: kernels.landmark_pool(features, landmarks, 1.4, 3), r"gates over channels .*, got int"),
        (lambda: kernels.attention_gate(features, "se", None), "weights by name, .*got NoneType"),
    ):
        with pytest.raises(InvalidInput, match=message):
            call()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_landmarks_beyond_float32(library: str, norm: bool, backend: str) -> None:
    """As far outside as any that float32 holds: not NaN, and no warning."""
    features = np.random.default_rng(3).random((1, 3, 4, 5), np.float32)
    near, far = np.array([[[1e30, 2.0]]]), np.array([[[1e300, 2.0]]])
    if library == "torch":
        features, near, far = map(torch.from_numpy, (features, near, far))
    with kernels.use_backend(backend), np.errstate(all="raise", under="ignore"):
        pooled = [kernels.landmark_pool(features, points, 1.4, norm_heat=norm) for points in (near, far)]
    np.testing.assert_array_equal(*pooled)
    assert np.isfinite(np.asarray(pooled[1])).all()


def test_nan_in_a_parameter_is_named_too() -> None:
    points = torch.nn.Parameter(torch.full((1, 2, 2), math.nan), requires_grad=False)
    with pytest.raises(InvalidInput, match="x = nan at landmark 0 of image 0"):
        kernels.landmark_pool(torch.zeros(1, 2, 3, 4), points, 1.4)
