"""`landmark_pool` against the literal torch forms and against heat maps with one product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dfer_edge import kernels
from dfer_edge.bench.cases.kernel_cases import Bar, within

Tensor = torch.Tensor
TITLE = "float32, 16 frames of 512 x 14 x 14 at 18 landmarks, noise"
SIGMA = 1.4
GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.rand(16, 512, 14, 14, generator=GENERATOR)
LANDMARKS = torch.rand(16, 18, 2, generator=GENERATOR) * 14
GATES = [torch.rand(size, generator=GENERATOR) for size in ((16, 14, 14), (16, 512, 14), (16, 512, 14))]
# Features in, vectors out.
MOVED_BYTES = 4 * (FEATURES.numel() + 16 * 19 * 512)
BARS = {"literal": Bar(40), "heat maps, bmm": Bar(1)}


def maps(landmarks: Tensor, side: int) -> Tensor:
    """Heat maps [N, J, S, S], separable."""
    cells = torch.arange(float(side), device=landmarks.device)
    x, y = ((-((cells - landmarks[..., axis, None]) ** 2) / (2 * SIGMA**2)).exp() for axis in (0, 1))
    return y[..., None] * x[..., None, :]


def literal(features: Tensor, landmarks: Tensor) -> Tensor:
    """As printed: every map times every channel, then means."""
    local = (features[:, None] * maps(landmarks, features.shape[-1])[:, :, None]).mean((-2, -1))
    return torch.cat([local, features.mean((-2, -1))[:, None]], 1)


def one_by_one(features: Tensor, landmarks: Tensor) -> Tensor:
    """The same a map at a time, which needs less memory."""
    heat = maps(landmarks, features.shape[-1])
    local = [(features * heat[:, j, None]).mean((-2, -1)) for j in range(heat.shape[1])]
    return torch.stack([*local, features.mean((-2, -1))], 1)


def product(features: Tensor, landmarks: Tensor) -> Tensor:
    """Heat maps and one batched matrix product."""
    side = features.shape[-1]
    heat = torch.cat([maps(landmarks, side), torch.ones(len(features), 1, side, side, device=features.device)], 1)
    return torch.bmm(heat.flatten(2) / side**2, features.flatten(2).transpose(1, 2))


def gated(features: Tensor) -> Tensor:
    """The map under triplet gates, written out."""
    over_channels, over_height, over_width = GATES
    return features * (over_channels[:, None] + over_height[:, :, None] + over_width[..., None]) / 3


def check() -> None:
    """Against the literal form in float64."""
    expected = literal(FEATURES.double(), LANDMARKS.double())
    error = (kernels.landmark_pool(FEATURES, LANDMARKS, SIGMA) - expected).abs().max() / expected.abs().max()
    within(error, 1e-5)
    expected = literal(gated(FEATURES.double()), LANDMARKS.double())
    error = (kernels.landmark_pool(FEATURES, LANDMARKS, SIGMA, GATES) - expected).abs().max() / expected.abs().max()
    within(error, 1e-5)


def cases() -> dict[str, Callable[[], Any]]:
    """On the same tensors, without gradients."""
    torch.set_num_threads(1)
    return {
        "ours": lambda: kernels.landmark_pool(FEATURES, LANDMARKS, SIGMA),
        "ours, gated": lambda: kernels.landmark_pool(FEATURES, LANDMARKS, SIGMA, GATES),
        "heat maps, bmm": lambda: product(FEATURES, LANDMARKS),
        "gated, heat maps, bmm": lambda: product(gated(FEATURES), LANDMARKS),
        "literal": lambda: literal(FEATURES, LANDMARKS),
        "literal, one by one": lambda: one_by_one(FEATURES, LANDMARKS),
    }


GPU_TITLE = "float16, 512 frames of 512 x 14 x 14 at 18 landmarks, noise"
GPU_MOVED_BYTES = 2 * 512 * (512 * 14 * 14 + 19 * 512)
GPU_SHARE_OF_FLOOR = 0.6
GPU_BARS = {"torch eager": Bar(10), "torch.compile": Bar(2)}


def gpu_inputs() -> tuple[Tensor, Tensor]:
    """Features and landmarks on the device, the CPU bench's over and over."""
    return FEATURES.repeat(32, 1, 1, 1).cuda().half(), LANDMARKS.repeat(32, 1, 1).cuda()


def gpu_check() -> None:
    """Against the product in float32."""
    features, landmarks = gpu_inputs()
    expected = product(features.float(), landmarks)
    error = (kernels.landmark_pool(features, landmarks, SIGMA).float() - expected).abs().max() / expected.abs().max()
    within(error, 2e-3)


def gpu_cases() -> dict[str, Callable[[], Any]]:
    """Ours, eager torch and torch.compile."""
    features, landmarks = gpu_inputs()
    compiled = torch.compile(one_by_one)
    return {
        "ours": lambda: kernels.landmark_pool(features, landmarks, SIGMA),
        "torch eager": lambda: one_by_one(features, landmarks),
        "torch.compile": lambda: compiled(features, landmarks),
    }
