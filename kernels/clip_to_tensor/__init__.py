"""`clip_to_tensor`: face crops out of uint8 frames, resized, normalised and laid out for the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import affine, arrays, dispatch
from dfer_edge.kernels.arrays import Array
from dfer_edge.kernels.clip_to_tensor.boxes import LONGEST_SIDE, whole_boxes
from dfer_edge.kernels.device_array import DeviceArray, adopt, leading, original
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Image

__all__ = ["DTYPES", "PIXEL_FORMATS", "clip_to_tensor", "crop_resize", "normalise"]

DTYPES = ("float32", "float16", "bfloat16")
PIXEL_FORMATS = ("rgb", "nv12")


def clip_to_tensor(
    frames: Sequence[Array] | Array,
    boxes: Sequence[Box] | Sequence[Sequence[Box]] | Array,
    spec: ModelSpec,
    pixel_format: str = "rgb",
    dtype: str = "float32",
    out: Array | None = None,
) -> Array:
    """Clips as a network reads them: crop, resize, normalise and lay out in one pass.

    Parameters
    ----------
    frames
        T frames, uint8, numpy or torch; one array, or a sequence whose frames may differ in size; or one array of
        another library on a device (``__cuda_array_interface__``, DLPack), e.g. a decoder's surfaces. ``rgb``:
        [H, W, 3] each, rows may lie apart. ``nv12``: [3 H / 2, W] each, H rows of luma and then rows of U, V pairs,
        BT.601 limited range, as cameras and video decoders give it; H and W even.
    boxes
        Crops in pixels: T boxes for one clip, or for N clips N sequences of T, e.g. one a person. Rounded to
        whole pixels, at least one each way; what lies outside the frame repeats its edge. Also as an array [T, 4] or
        [N, T, 4]: left, top, right, bottom. An int32 array on the frames' device is read there without a copy, so
        that a CUDA graph can be replayed with other boxes; frames of other libraries need such boxes.
    spec
        Size, mean and standard deviation.
    pixel_format
        ``rgb`` or ``nv12``.
    dtype
        Of the result: ``float32``, ``float16``, or for torch ``bfloat16``. That of ``out`` if given.
    out
        Where to write, e.g. an engine's input buffer; contiguous, apart from ``frames``. Needed for frames of other
        libraries, and on their stream.

    Returns
    -------
    [3, T, S, S], or [N, 3, T, S, S] for many clips; of the library and on the device of ``frames``.

    Raises
    ------
    InvalidInput
        If there are not as many boxes as frames, or none; for a wrong dtype, rank, pixel format or box, or an ``out``
        that does not fit.
    EngineUnavailable
        If the forced backend declines.
    """
    frames, boxes, out = adopt(frames), adopt(boxes), adopt(out)
    _check(frames, pixel_format, dtype)
    table, many = whole_boxes(boxes, frames.shape[0] if arrays.is_array(frames) else len(frames))
    _check_side(spec.size)
    if isinstance(frames, DeviceArray) and arrays.on_host(table):
        raise InvalidInput(
            "expected boxes on the device of frames that are another library's, got some in host memory",
            "pass an int32 array there, whole pixels",
        )
    shape = (table.shape[0], 3, table.shape[1], spec.size, spec.size)
    inputs = [frames] if arrays.is_array(frames) else frames
    if not arrays.on_host(table):
        arrays.require_together({"frames": inputs[0], "boxes": table})
    normalisation = affine.moments(spec.mean, spec.std)
    if out is None and arrays.is_tensor(frames):
        from dfer_edge.kernels.clip_to_tensor import torch_op

        filled = torch_op.clip_to_tensor(
            _rows(frames), arrays.as_tensor(table), spec.size, *normalisation, pixel_format == "nv12", dtype
        )
        return filled if many else filled[0]
    target = arrays.output(out, shape if many else shape[1:], DTYPES if out is not None else (dtype,), *inputs)
    _fill(frames, table, normalisation, pixel_format == "nv12", target if many else leading(target))
    return original(target)


def crop_resize(image: Image, box: Box, size: int) -> Image:
    """Crop an RGB image [H, W, 3] to ``box`` and resample to uint8 [size, size, 3].

    The pixels that :func:`clip_to_tensor` normalises: one rule for training and every engine. Shrinking averages
    pixel areas, enlarging is bilinear.

    Raises
    ------
    InvalidInput
        If the image is not uint8 [H, W, 3].
    """
    arrays.require("image", image, ("uint8",), "[H, W, 3]", (3,))
    _check(image[None], "rgb", "float32")
    _check_side(size)
    table, _ = whole_boxes([box], 1)
    out = arrays.empty((1, 1, size, size, 3), "uint8", image)
    _fill(image[None], table, None, False, out)
    pixels: Image = out[0, 0]
    return pixels


def normalise(crops: Image, spec: ModelSpec) -> npt.NDArray[np.float32]:
    """uint8 [T, h, w, 3] to float32 [3, T, h, w]: ``(pixel / 255 - mean) / std`` per channel.

    Raises
    ------
    InvalidInput
        If the crops are not uint8 [T, h, w, 3].
    """
    _check(crops, "rgb", "float32")
    count, height, width = crops.shape[:3]
    table, _ = whole_boxes(np.tile(np.array([0, 0, width, height]), (1, count, 1)), count)
    out = arrays.empty((1, 3, count, height, width), "float32", crops)
    _fill(crops, table, affine.moments(spec.mean, spec.std), False, out)
    clip: npt.NDArray[np.float32] = out[0]
    return clip


def _fill(frames: Any, boxes: Array, normalisation: Any, nv12: bool, out: Array) -> None:
    if not boxes.shape[0]:
        return
    if arrays.is_array(frames):
        dispatch.run("clip_to_tensor", _rows(frames), boxes, normalisation, nv12, out)
        return
    # Frame by frame: stacking them would cost more than the crops.
    for t, frame in enumerate(frames):
        here = (slice(None), slice(None), slice(t, t + 1)) if normalisation else (slice(None), slice(t, t + 1))
        dispatch.run("clip_to_tensor", _rows(frame[None]), boxes[:, t : t + 1], normalisation, nv12, out[here])


def _rows(frames: Array) -> Array:
    """Frames whose rows are contiguous; frames and rows may lie apart."""
    strides = arrays.strides(frames)
    pixels = (3, 1) if frames.ndim == 4 else (1,)
    backwards = any(step < 0 for step in strides)
    return arrays.contiguous(frames) if backwards or strides[-len(pixels) :] != pixels else frames


def _check(frames: Any, pixel_format: str, dtype: str) -> None:
    if pixel_format not in PIXEL_FORMATS:
        raise InvalidInput(f"expected a pixel format of {', '.join(PIXEL_FORMATS)}, got {pixel_format!r}")
    if dtype not in DTYPES:
        raise InvalidInput(f"expected a dtype of {', '.join(DTYPES)}, got {dtype!r}")
    if not arrays.is_array(frames):
        if not isinstance(frames, Sequence):
            raise InvalidInput(f"expected frames as an array or a sequence of them, got {type(frames).__name__}")
        for index, frame in enumerate(frames):
            arrays.require(
                f"frame {index}", frame, ("uint8",), _shape(pixel_format), (3 if pixel_format == "rgb" else 2,)
            )
        named = {f"frame {index}": frame for index, frame in enumerate(frames)}
        arrays.require_together(named)
        for frame in frames:
            _check_sizes(frame.shape, pixel_format)
    else:
        arrays.require(
            "frames", frames, ("uint8",), f"[T, *{_shape(pixel_format)}]", (4 if pixel_format == "rgb" else 3,)
        )
        _check_sizes(frames.shape[1:], pixel_format)


def _check_sizes(shape: Sequence[int], pixel_format: str) -> None:
    if pixel_format == "rgb":
        fits = shape[2] == 3 and min(shape) > 0
    else:
        fits = shape[0] > 0 and shape[0] % 3 == 0 and shape[1] > 0 and shape[1] % 2 == 0
    if not fits:
        raise InvalidInput(f"expected {pixel_format} frames {_shape(pixel_format)}, not empty, got {list(shape)}")


def _check_side(size: int) -> None:
    if not 1 <= size <= LONGEST_SIDE:
        raise InvalidInput(f"expected a size of 1 to {LONGEST_SIDE} pixels, got {size}")


def _shape(pixel_format: str) -> str:
    return "[H, W, 3]" if pixel_format == "rgb" else "[3 H / 2, W], H and W even"
