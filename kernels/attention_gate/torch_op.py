"""`attention_gate` as a torch operator; opaque to torch.compile and export, which see the shapes only."""

import torch
from torch import Tensor

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import dispatch


def gate(x: Tensor, kind: str, weights: list[Tensor], pool: bool) -> Tensor:
    """:func:`attention_gate` of tensors that want no gradient."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights)):
        raise InvalidInput(
            "expected tensors without gradient: attention_gate is for inference",
            "call it under torch.no_grad(), or train with dfer_edge.models.vgg",
        )
    result: Tensor = attention_gate(x, kind, weights, pool)
    return result


@torch.library.custom_op("dfer_edge::attention_gate", mutates_args=())
def attention_gate(x: Tensor, kind: str, weights: list[Tensor], pool: bool) -> Tensor:
    """Gated and pooled [N, C, H // 2, W // 2]."""
    out = _empty(x, pool)
    dispatch.run("attention_gate", x.contiguous(), kind, weights, pool, out)
    return out


@attention_gate.register_fake
def _(x: Tensor, kind: str, weights: list[Tensor], pool: bool) -> Tensor:
    return _empty(x, pool)


def _empty(x: Tensor, pool: bool) -> Tensor:
    count, channels, height, width = x.shape
    shape = (count, channels, height // 2, width // 2) if pool else (count, channels, height, width)
    return x.new_empty(shape)
