"""The definition of the crop, the resampling, the colours and the normalisation, for numpy and torch alike.

Whole numbers up to the last step, so that every backend gives the same pixels bit for bit. Clear and slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.kernels.arrays import Array, as_tensor, is_tensor

# BT.601, limited range (luma 16..235, chroma 16..240), in 1 / 2**20.
LUMA_GAIN, RED_V, GREEN_U, GREEN_V, BLUE_U = 1220542, 1673527, -409993, -852492, 2116026


def declines(*_: Any) -> str:
    """Takes everything."""
    return ""


def run(frames: Array, boxes: Array, normalisation: Any, nv12: bool, out: Array) -> None:
    """Fill ``out``.

    Parameters
    ----------
    frames
        uint8 RGB [T, H, W, 3], or NV12 [T, 3 H / 2, W].
    boxes
        int32 [N, T, 4]: left, top, right, bottom of the crop of clip n in frame t, at least one pixel each way.
    normalisation
        Means and standard deviations of the three channels, or None for the pixels themselves.
    nv12
        What ``frames`` is.
    out
        float [N, 3, T, h, w], or without normalisation uint8 [N, T, h, w, 3].
    """
    height, width = out.shape[3:] if normalisation else out.shape[2:4]
    for clip, moments in enumerate(boxes.tolist()):
        for t, box in enumerate(moments):
            image = nv12_to_rgb(frames[t]) if nv12 else frames[t]
            pixels = resample(crop(image, *box), height, width)
            if normalisation is None:
                out[clip, t] = pixels
                continue
            for channel, (mean, std) in enumerate(zip(*normalisation, strict=True)):
                levels = _as(pixels[..., channel], "float64") / 255
                out[clip, channel, t] = (levels - mean) / std


def crop(image: Array, left: int, top: int, right: int, bottom: int) -> Array:
    """Pixels [bottom - top, right - left, 3] of an image [H, W, 3]; outside, its nearest edge."""
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    rows = np.arange(top, bottom).clip(0, image.shape[0] - 1)
    columns = np.arange(left, right).clip(0, image.shape[1] - 1)
    return image[_at(rows, image)][:, _at(columns, image)]


def resample(image: Array, height: int, width: int) -> Array:
    """To [height, width, 3]: each axis by :func:`weights`, rounded once, to nearest, halves up."""
    down, across = weights(image.shape[0], height), weights(image.shape[1], width)
    whole = int(down[0].sum() * across[0].sum())
    # Exact in float64: sums stay below 2**53.
    down_, across_, pixels = _at(down, image), _at(across, image), _as(image, "float64")
    columns = [down_ @ pixels[..., channel] @ across_.T for channel in range(3)]
    sums = [_as(column, "int64") for column in columns]
    rounded = [(2 * column + whole) // (2 * whole) for column in sums]
    return _as(_interleave(rounded), "uint8")


def weights(length: int, size: int) -> npt.NDArray[np.float64]:
    """[size, length] whole-numbered weights of ``length`` pixels in ``size``; each row has the same sum.

    Shrinking: the overlap of pixel j, which covers j .. j+1, with output i, which covers i length/size ..
    (i+1) length/size, in units of 1 / size. Enlarging: bilinear between pixel centres, which lie at (i + 1/2)
    length/size, in units of 1 / (2 size); beyond the outer centres the outer pixel.
    """
    outputs, inputs = np.arange(size)[:, None], np.arange(length)[None]
    if length > size:
        begin = np.maximum(outputs * length, inputs * size)
        end = np.minimum((outputs + 1) * length, (inputs + 1) * size)
        return np.asarray(np.maximum(end - begin, 0), np.float64)
    centre = ((2 * outputs + 1) * length - size).clip(0, 2 * size * (length - 1))
    return np.asarray(np.maximum(2 * size - abs(centre - 2 * size * inputs), 0), np.float64)


def nv12_to_rgb(image: Array) -> Array:
    """NV12 [3 H / 2, W] to RGB uint8 [H, W, 3]: H rows of luma, then rows of U, V pairs, a pair for 2 x 2 pixels."""
    height, width = image.shape[0] * 2 // 3, image.shape[1]
    luma = (_as(image[:height], "int64") - 16).clip(0) * LUMA_GAIN + (1 << 19)
    pairs = _as(image[height:], "int64").reshape(height // 2, width // 2, 2) - 128
    rows, columns = np.arange(height) // 2, np.arange(width) // 2
    chroma = pairs[_at(rows, image)][:, _at(columns, image)]
    u, v = chroma[..., 0], chroma[..., 1]
    planes = (luma + RED_V * v, luma + GREEN_U * u + GREEN_V * v, luma + BLUE_U * u)
    return _as(_interleave([(plane >> 20).clip(0, 255) for plane in planes]), "uint8")


def _at(table: npt.NDArray[Any], like: Array) -> Array:
    """A numpy table where ``like`` is."""
    return as_tensor(table).to(like.device) if is_tensor(like) else table


def _as(array: Array, dtype: str) -> Array:
    if not is_tensor(array):
        return array.astype(dtype)
    import torch

    return array.to(getattr(torch, dtype))


def _interleave(planes: list[Array]) -> Array:
    if is_tensor(planes[0]):
        import torch

        return torch.stack(planes, -1)
    return np.stack(planes, -1)
