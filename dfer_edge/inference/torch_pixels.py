"""Normalisation of uint8 crops on torch tensors, on the device that they are on."""

from __future__ import annotations

import torch

from dfer_edge.kernels import affine
from dfer_edge.spec import ModelSpec


class Normalise:
    """As :func:`dfer_edge.kernels.clip_to_tensor.normalise`, bit for bit: uint8 [..., 3] to float32 [B, 3, ...].

    The result is a view of memory in which channels come last: what a network in channels-last reads.
    """

    def __init__(self, spec: ModelSpec, device: str) -> None:
        maps = affine.per_channel(*affine.moments(spec.mean, spec.std))
        # Uploaded once: a copy from the host cannot be part of a CUDA graph.
        self._maps = torch.tensor(maps, dtype=torch.float32, device=device).T

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        scale_hi, bias_hi, scale_lo, bias_lo = self._maps
        x = crops.float()
        normalised: torch.Tensor = (x * scale_hi - bias_hi) + (x * scale_lo - bias_lo)
        return normalised.movedim(-1, 1)
