"""`attention_gate` against torch eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from dfer_edge import kernels
from dfer_edge.bench.cases.kernel_cases import Bar, within
from dfer_edge.inference.vgg import Architecture
from dfer_edge.models.vgg import AGGate, CBAMGate, SEGate

TITLE = "float32, AGFER gate and pooling of 1 x 256 x 56 x 56, noise"
FEATURES = torch.rand(1, 256, 56, 56, generator=torch.Generator().manual_seed(0))
CHANNELS_LAST = FEATURES.contiguous(memory_format=torch.channels_last)
# The map is read twice, the pooled map written.
MOVED_BYTES = 4 * FEATURES.numel() * 9 // 4
BARS = {"torch eager": Bar(4)}
MODULES = {"agfer": ("ag", AGGate), "se": ("se", SEGate), "cbam": ("cbam", CBAMGate)}


def gate_of(kind: str) -> torch.nn.Module:
    """The training form's gate, as it is drawn."""
    torch.manual_seed(0)
    name, module = MODULES[kind]
    return module(256, Architecture(name, 2, 8, False, 0)).eval()


GATES = {kind: gate_of(kind) for kind in MODULES}
WEIGHTS = {kind: {k: v.detach() for k, v in gate.state_dict().items()} for kind, gate in GATES.items()}


def eager(kind: str, x: torch.Tensor) -> torch.Tensor:
    """Gate, then torch's pooling."""
    with torch.inference_mode():
        return functional.max_pool2d(GATES[kind](x), 2)


def check() -> None:
    """Against the same modules in float64."""
    for kind, gate in GATES.items():
        with torch.inference_mode():
            expected = functional.max_pool2d(gate.double()(FEATURES.double()), 2)
            gate.float()
        error = (kernels.attention_gate(FEATURES, kind, WEIGHTS[kind]) - expected).abs().max() / expected.abs().max()
        within(error, 1e-5, kind)


def cases() -> dict[str, Callable[[], Any]]:
    """On the same tensor; channels-last is what the torch engine uses."""
    torch.set_num_threads(1)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: kernels.attention_gate(FEATURES, "agfer", WEIGHTS["agfer"]),
        "torch eager": lambda: eager("agfer", FEATURES),
        "torch eager, channels-last": lambda: eager("agfer", CHANNELS_LAST),
    }
    for kind in ("se", "cbam"):
        calls[f"ours, {kind}"] = lambda kind=kind: kernels.attention_gate(FEATURES, kind, WEIGHTS[kind])  # type: ignore[misc]
        calls[f"torch eager, {kind}"] = lambda kind=kind: eager(kind, FEATURES)  # type: ignore[misc]
    return calls


GPU_TITLE = "float16, AGFER gate and pooling of 64 x 256 x 56 x 56, noise"
GPU_MOVED_BYTES = 2 * 64 * FEATURES.numel() * 9 // 4
GPU_SHARE_OF_FLOOR = 0.6


def gpu_inputs() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Features and AGFER weights on the device."""
    weights = {name: weight.cuda().half() for name, weight in WEIGHTS["agfer"].items()}
    return FEATURES.repeat(64, 1, 1, 1).cuda().half(), weights


def gpu_check() -> None:
    """Against the module in float32 on the CPU, the first image."""
    features, weights = gpu_inputs()
    actual, expected = kernels.attention_gate(features, "agfer", weights)[:1].float().cpu(), eager("agfer", FEATURES)
    # the rounding of the inputs counts here
    within((actual - expected).abs().max() / expected.abs().max(), 4e-3)


def gpu_cases() -> dict[str, Callable[[], Any]]:
    """Ours and eager torch."""
    features, weights = gpu_inputs()
    with torch.inference_mode():
        gate = gate_of("agfer").cuda().half()
    return {
        "ours": lambda: kernels.attention_gate(features, "agfer", weights),
        "torch eager": lambda: functional.max_pool2d(gate(features), 2).detach(),
    }
