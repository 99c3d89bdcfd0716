"""`landmark_pool` as a torch operator with gradients; opaque to torch.compile and export, which see the shapes only."""

from typing import Any

import torch
from torch import Tensor

from dfer_edge.kernels import dispatch
from dfer_edge.kernels.landmark_pool import reference


def cast(landmarks: Tensor, dtype: str) -> Tensor:
    """Landmarks in float32 or float64."""
    return landmarks.to(getattr(torch, dtype))


@torch.library.custom_op("dfer_edge::landmark_pool", mutates_args=())
def landmark_pool(
    features: Tensor,
    points: Tensor,
    sigma: float,
    over_channels: Tensor | None,
    over_height: Tensor | None,
    over_width: Tensor | None,
    norm_heat: bool,
) -> Tensor:
    """Pooled [N, J + 1, C]."""
    out = _empty(features, points)
    gates = _gates(over_channels, over_height, over_width)
    contiguous = None if gates is None else [gate.contiguous() for gate in gates]
    dispatch.run("landmark_pool", features.contiguous(), points.contiguous(), sigma, contiguous, norm_heat, out)
    return out


@landmark_pool.register_fake
def _(
    features: Tensor,
    points: Tensor,
    sigma: float,
    over_channels: Tensor | None,
    over_height: Tensor | None,
    over_width: Tensor | None,
    norm_heat: bool,
) -> Tensor:
    return _empty(features, points)


def _empty(features: Tensor, points: Tensor) -> Tensor:
    return features.new_empty((features.shape[0], points.shape[1] + 1, features.shape[1]))


def _gates(*gates: Tensor | None) -> list[Tensor] | None:
    present = [gate for gate in gates if gate is not None]
    return present or None


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, points, ctx.sigma, *gates, ctx.norm_heat = inputs
    ctx.save_for_backward(features, points, *gates)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """d of the mean over cells: one product of the maps, made again, with the gradient [N, J + 1, C]."""
    features, points, *saved = ctx.saved_tensors
    gates = _gates(*saved)
    height, width = features.shape[2:]
    maps = _weights(points, height, width, ctx.sigma, ctx.norm_heat)
    wide = torch.promote_types(grad.dtype, torch.float32)
    flow = torch.bmm(grad.transpose(1, 2).to(wide), maps.to(wide).flatten(2)).view(features.shape)  # d F
    if gates is None:
        return flow.to(features.dtype), None, None, None, None, None, None
    by_gate = flow * features / 3
    total = gates[0][:, None] + gates[1][:, :, None] + gates[2][..., None]
    gradients = (by_gate.sum(1), by_gate.sum(2), by_gate.sum(3))
    return (
        (flow * total / 3).to(features.dtype),
        None,
        None,
        *(gradient.to(features.dtype) for gradient in gradients),
        None,
    )


def _weights(points: Tensor, height: int, width: int, sigma: float, norm_heat: bool) -> Tensor:
    """[N, J + 1, H, W]: the share of each cell in each pooled vector; 1 / HW for the global one."""
    maps = reference.heat_maps(points, height, width, sigma, nearest_is_one=norm_heat)
    maps = maps / maps.sum((-2, -1), keepdim=True) if norm_heat else maps / (height * width)
    whole = maps.new_full((len(maps), 1, height, width), 1 / (height * width))
    return torch.cat([maps, whole], 1)


landmark_pool.register_autograd(_backward, setup_context=_save)
