"""Parameter and multiply-accumulate counts of a module, by running it on shapes only."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dfer_edge.spec import ModelSpec


def count_parameters(module: nn.Module) -> int:
    """Elements of all parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    """MACs of one forward pass: convolutions, linear layers and (batched) matrix products, nothing else.

    Runs a copy on the meta device, so inputs need shapes only and nothing is computed. Attention is counted as its two
    matrix products; the module is put in training mode because torch's fused inference path hides them.
    """
    twin = copy.deepcopy(module).to("meta").train()
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        twin(*(x.to("meta") for x in inputs))
    return int(counter.get_total_flops()) // 2


def example_inputs(spec: ModelSpec, batch: int = 1, device: str = "meta") -> tuple[torch.Tensor, ...]:
    """Empty inputs of the shapes that ``spec`` names: the clip or image, then landmarks if the network takes them."""
    pixels = torch.empty(batch, *spec.input_shape, device=device)
    if not spec.landmarks:
        return (pixels,)
    return pixels, torch.empty(batch, spec.frames, spec.landmarks, 2, device=device)
