"""`clip_to_tensor` by csrc/clip_to_tensor/clip_to_tensor_cuda.cu. Built, not yet run on hardware."""

from __future__ import annotations

from typing import Any

from dfer_edge.kernels import affine
from dfer_edge.kernels.arrays import (
    DTYPE_NUMBERS,
    Array,
    as_tensor,
    device_index,
    dtype_name,
    on_host,
    pointer,
    stream,
    strides,
)

# A grid counts them in 16 bits.
_MOST_FRAMES = 65535


def declines(frames: Array, *_: Any) -> str:
    """Takes up to 65535 frames in device memory."""
    return f"takes {_MOST_FRAMES} frames, got {frames.shape[0]}" if frames.shape[0] > _MOST_FRAMES else ""


def run(frames: Array, boxes: Array, normalisation: Any, nv12: bool, out: Array) -> None:
    """Fill ``out``; see reference.py. Boxes in host memory are copied to the device, which no CUDA graph can hold."""
    from dfer_edge import _cuda

    table = as_tensor(boxes).to(out.device, non_blocking=True) if on_host(boxes) else boxes
    rows, steps = frames.shape[1], strides(out)
    shape = (frames.shape[0], rows // 3 * 2 if nv12 else rows, frames.shape[2])
    source = (pointer(frames), shape, strides(frames)[:2], nv12, pointer(table), table.shape[0])
    where = (device_index(out), stream(out))
    if normalisation is None:
        _cuda.crop_pixels(*source, pointer(out), (steps[0], 0, steps[1]), tuple(out.shape[2:4]), *where)
    else:
        maps, number = affine.per_channel(*normalisation), DTYPE_NUMBERS[dtype_name(out)]
        _cuda.crop_planes(*source, pointer(out), steps[:3], tuple(out.shape[3:]), *where, maps, number)
