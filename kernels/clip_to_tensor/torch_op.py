"""`clip_to_tensor` as a torch operator: opaque to torch.compile and export, which see the shapes only."""

import torch

from dfer_edge.kernels import dispatch


@torch.library.custom_op("dfer_edge::clip_to_tensor", mutates_args=())
def clip_to_tensor(
    frames: torch.Tensor,
    boxes: torch.Tensor,
    size: int,
    mean: list[float],
    std: list[float],
    nv12: bool,
    dtype: str,
) -> torch.Tensor:
    """Clips [N, 3, T, size, size] of frames [T, ...] and whole boxes int32 [N, T, 4]."""
    out = _empty(frames, boxes, size, dtype)
    if len(boxes):
        dispatch.run("clip_to_tensor", frames, boxes, (mean, std), nv12, out)
    return out


@clip_to_tensor.register_fake
def _(
    frames: torch.Tensor,
    boxes: torch.Tensor,
    size: int,
    mean: list[float],
    std: list[float],
    nv12: bool,
    dtype: str,
) -> torch.Tensor:
    return _empty(frames, boxes, size, dtype)


def _empty(frames: torch.Tensor, boxes: torch.Tensor, size: int, dtype: str) -> torch.Tensor:
    shape = (boxes.shape[0], 3, boxes.shape[1], size, size)
    return torch.empty(shape, dtype=getattr(torch, dtype), device=frames.device)
