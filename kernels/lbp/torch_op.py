"""`lbp` as torch operators: opaque to torch.compile and export, which see the shapes only."""

import torch

from dfer_edge.kernels import dispatch
from dfer_edge.kernels.lbp.rules import BIT_ORDERS


@torch.library.custom_op("dfer_edge::lbp", mutates_args=())
def lbp(frames: torch.Tensor, bit_order: str, border: str) -> torch.Tensor:
    """Codes uint8 [T, H, W]."""
    out = torch.empty(frames.shape[:3], dtype=torch.uint8, device=frames.device)
    dispatch.run("lbp", frames.contiguous(), BIT_ORDERS[bit_order], border == "zero", None, out)
    return out


@lbp.register_fake
def _(frames: torch.Tensor, bit_order: str, border: str) -> torch.Tensor:
    return torch.empty(frames.shape[:3], dtype=torch.uint8, device=frames.device)


@torch.library.custom_op("dfer_edge::lbp_clip", mutates_args=())
def lbp_clip(frames: torch.Tensor, mean: list[float], std: list[float], bit_order: str, border: str) -> torch.Tensor:
    """Clip float32 [3, T, H, W]."""
    out = torch.empty((3, *frames.shape[:3]), dtype=torch.float32, device=frames.device)
    dispatch.run("lbp", frames.contiguous(), BIT_ORDERS[bit_order], border == "zero", (mean, std), out)
    return out


@lbp_clip.register_fake
def _(frames: torch.Tensor, mean: list[float], std: list[float], bit_order: str, border: str) -> torch.Tensor:
    return torch.empty((3, *frames.shape[:3]), dtype=torch.float32, device=frames.device)
