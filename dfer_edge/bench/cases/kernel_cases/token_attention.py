"""`token_attention` against nn.MultiheadAttention and against the folded head in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from dfer_edge import kernels
from dfer_edge.bench.cases.kernel_cases import Bar, within
from dfer_edge.kernels.token_attention import Folded, Printed, fold
from dfer_edge.models.slowr50 import AttentionHead

TITLE = "float32, batch 1, folded head of SlowR50-SA, random weights"
torch.manual_seed(0)
HEAD = AttentionHead(7, 4, 0.5).eval()
TOKEN = torch.rand(1, 2048)
PRINTED = Printed(
    HEAD.attention.in_proj_weight.detach()[4096:],
    HEAD.attention.in_proj_bias.detach()[4096:],
    *(
        layer.detach()
        for pair in (HEAD.attention.out_proj, HEAD.fc, HEAD.classifier)
        for layer in (pair.weight, pair.bias)
    ),
)
FOLDED = fold(PRINTED)
MOVED_BYTES = 4 * sum(tensor.numel() for tensor in FOLDED)
BARS: dict[str, Bar] = {}


def as_printed() -> torch.Tensor:
    """With the query and key projections that act on nothing."""
    with torch.inference_mode():
        scores: torch.Tensor = HEAD(TOKEN)
        return scores


def folded() -> torch.Tensor:
    """Two linear layers."""
    hidden = functional.linear(TOKEN, FOLDED.weight, FOLDED.bias).relu_()
    return functional.linear(hidden, FOLDED.classifier_weight, FOLDED.classifier_bias)


def check() -> None:
    """Against the module in float64."""
    with torch.inference_mode():
        expected = HEAD.double()(TOKEN.double())
        HEAD.float()
    for weights in (PRINTED, FOLDED):
        error = (kernels.token_attention(TOKEN, weights) - expected).abs().max() / expected.abs().max()
        within(error, 1e-6)


def cases() -> dict[str, Callable[[], Any]]:
    """On the same token."""
    torch.set_num_threads(1)
    return {
        "ours": lambda: kernels.token_attention(TOKEN, FOLDED),
        "ours, printed": lambda: kernels.token_attention(TOKEN, PRINTED),
        "torch, folded": folded,
        "torch, printed": as_printed,
    }


GPU_TITLE = "float16, batch 1, folded head of SlowR50-SA, random weights, each call one replay of a CUDA graph"
GPU_MOVED_BYTES = MOVED_BYTES // 2
# A launch takes longer than the bytes: its own time is the floor, so ours may take twice that.
GPU_SHARE_OF_FLOOR = 0
GPU_BARS = {"a launch on one element": Bar(0.5)}


def gpu_inputs() -> tuple[torch.Tensor, Folded]:
    """Token and folded head on the device."""
    return TOKEN.cuda().half(), Folded(*(tensor.cuda().half() for tensor in FOLDED))


def gpu_check() -> None:
    """Against the head in float32, of the same rounded values."""
    token, weights = gpu_inputs()
    wide = Folded(*(tensor.float() for tensor in weights))
    with kernels.use_backend("reference"):
        expected = kernels.token_attention(token.float(), wide)
    error = (kernels.token_attention(token, weights).float() - expected).abs().max() / expected.abs().max()
    within(error, 2e-3)


def gpu_cases() -> dict[str, Callable[[], Any]]:
    """Captured, so that a call is what the device does: Python needs longer for the launch than the kernel runs."""
    from dfer_edge.engines.torch_capture import record

    token, weights = gpu_inputs()
    one = torch.zeros(1, device="cuda")

    def linear() -> torch.Tensor:
        hidden = functional.linear(token, weights.weight, weights.bias).relu_()
        return functional.linear(hidden, weights.classifier_weight, weights.classifier_bias)

    calls = {"ours": lambda: kernels.token_attention(token, weights), "torch, folded": linear}
    calls["a launch on one element"] = lambda: one.add_(1)
    with torch.inference_mode():
        return {name: record(call, None)[1] for name, call in calls.items()}
