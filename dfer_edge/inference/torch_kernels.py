"""Fused kernels in the place of the operations of an inference form, on torch tensors of any device and dtype."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from dfer_edge.inference.kernel_places import FOLDED
from dfer_edge.kernels.attention_gate import attention_gate
from dfer_edge.kernels.attention_gate.rules import SHAPES
from dfer_edge.kernels.dispatch import use_threads
from dfer_edge.kernels.landmark_pool import landmark_pool
from dfer_edge.kernels.token_attention import Folded, token_attention

Tensor = torch.Tensor
Weights = Mapping[str, Tensor]


def _run(kernel: Callable[..., Tensor], x: Tensor, *tensors: Tensor) -> Tensor:
    """On the CPU the kernels are of fp32, on all threads of torch; elsewhere of the dtype that came."""
    if x.device.type != "cpu":
        return kernel(x, *tensors)
    with use_threads(torch.get_num_threads()):
        return kernel(x.float(), *(tensor.float() for tensor in tensors)).to(x.dtype)


def _token_attention(weights: Weights, _: str, x: Tensor) -> Tensor:
    # One vector a clip, or, where frames are weighed by their scores, one a frame.
    rows = _run(
        lambda x, *w: token_attention(x, Folded(*w)), x.reshape(-1, x.shape[-1]), *(weights[name] for name in FOLDED)
    )
    return rows.reshape(*x.shape[:-1], -1)


def _attention_gate(weights: Weights, prefix: str, x: Tensor, kind: str) -> Tensor:
    names = list(SHAPES[kind])
    return _run(
        lambda x, *w: attention_gate(x, kind, dict(zip(names, w, strict=True))),
        x,
        *(weights[f"{prefix}.{name}"] for name in names),
    )


def _landmark_pool(
    _: Weights, __: str, x: Tensor, points: Tensor, *gates: Tensor, sigma: float, norm_heat: bool
) -> Tensor:
    # Points in fp32 whatever x is: a cell has more than 8 bits.
    wide = points.float()
    return _run(lambda x, *g: landmark_pool(x, wide, sigma, g, norm_heat), x, *(gate.squeeze(1) for gate in gates))


KERNELS: dict[str, Callable[..., Tensor]] = {
    "token_attention": _token_attention,
    "attention_gate": _attention_gate,
    "landmark_pool": _landmark_pool,
}
"""By name: (weights, prefix of their names, inputs...) -> output."""
