"""`token_attention` as a torch operator with gradients; opaque to torch.compile and export, which see shapes only."""

from typing import Any

import torch
from torch import Tensor

from dfer_edge.kernels import dispatch


@torch.library.custom_op("dfer_edge::token_attention", mutates_args=())
def token_attention(x: Tensor, weights: list[Tensor], softmax: bool) -> Tensor:
    """Scores [B, K]."""
    out = x.new_empty((x.shape[0], weights[-1].shape[0]))
    dispatch.run("token_attention", x.contiguous(), [weight.contiguous() for weight in weights], softmax, out)
    return out


@token_attention.register_fake
def _(x: Tensor, weights: list[Tensor], softmax: bool) -> Tensor:
    return x.new_empty((x.shape[0], weights[-1].shape[0]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights, ctx.softmax = inputs
    ctx.save_for_backward(x, output, *weights)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """Each layer's gradients from the last back; activations are made again from x, cheaper than kept."""
    x, output, *weights = ctx.saved_tensors
    wide = torch.promote_types(x.dtype, torch.float32)
    token, scores, flow = x.to(wide), output.to(wide), grad.to(wide)
    *attention, fc_weight, fc_bias, classifier_weight, _ = (weight.to(wide) for weight in weights)
    inputs = [token]
    if attention:
        value = torch.addmm(attention[1], token, attention[0].T)
        inputs += [value, token + torch.addmm(attention[3], value, attention[2].T)]
    hidden = torch.relu(torch.addmm(fc_bias, inputs[-1], fc_weight.T))
    if ctx.softmax:
        flow = scores * (flow - (scores * flow).sum(-1, keepdim=True))
    gradients: list[Tensor] = [flow.T @ hidden, flow.sum(0)]
    flow = (flow @ classifier_weight) * (hidden > 0)
    gradients = [flow.T @ inputs[-1], flow.sum(0), *gradients]
    flow = flow @ fc_weight
    if attention:
        through = flow @ attention[2]
        gradients = [through.T @ token, through.sum(0), flow.T @ inputs[1], flow.sum(0), *gradients]
        flow = flow + through @ attention[0]
    rounded = [gradient.to(weight.dtype) for gradient, weight in zip(gradients, weights, strict=True)]
    return flow.to(x.dtype), rounded, None


token_attention.register_autograd(_backward, setup_context=_save)
