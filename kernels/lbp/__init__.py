"""`lbp`: local binary patterns of frames, as codes or straight as the clip that a network reads."""

from __future__ import annotations

from collections.abc import Sequence

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import affine, arrays, dispatch
from dfer_edge.kernels.arrays import Array
from dfer_edge.kernels.device_array import adopt, original
from dfer_edge.kernels.lbp.rules import BIT_ORDERS, BORDERS

__all__ = ["BIT_ORDERS", "BORDERS", "lbp", "lbp_clip"]


def lbp(frames: Array, bit_order: str = "clockwise", border: str = "replicate", out: Array | None = None) -> Array:
    """Local binary patterns, 3 x 3 (P = 8, R = 1): a bit is set where the neighbour is at least the centre.

    Parameters
    ----------
    frames
        uint8 grey [T, H, W] or RGB [T, H, W, 3], numpy or torch, or contiguous with ``__cuda_array_interface__`` (CuPy,
        PyCUDA; read on the stream of its producer, with ``out`` of the same). RGB becomes grey by BT.601,
        ``(9798 R + 19235 G + 3735 B + 16384) >> 15``.
    bit_order
        ``clockwise``: from the top left, bit 0 first. ``clockwise_msb``: the same with bit 7 first. ``skimage``: from
        the right, counter-clockwise, bit 0 first (scikit-image's order; it interpolates the diagonals, this does not).
    border
        What lies outside the frame: ``replicate`` repeats the edge, ``zero`` is 0.
    out
        Where to write, uint8 [T, H, W], contiguous, apart from ``frames``; a new array by default.

    Returns
    -------
    uint8 [T, H, W], of the library and on the device of ``frames``.

    Raises
    ------
    InvalidInput
        For a wrong dtype, rank, order or border, or an ``out`` that does not fit.
    EngineUnavailable
        If the forced backend declines.
    """
    frames, out = adopt(frames), adopt(out)
    _check(frames, bit_order, border)
    if out is None and arrays.is_tensor(frames):
        from dfer_edge.kernels.lbp import torch_op

        return torch_op.lbp(frames, bit_order, border)
    return _fill(frames, bit_order, border, None, arrays.output(out, frames.shape[:3], ("uint8",), frames))


def lbp_clip(
    frames: Array,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    bit_order: str = "clockwise",
    border: str = "replicate",
    out: Array | None = None,
) -> Array:
    """:func:`lbp` as a clip in one pass: three equal channels of codes, ``(code / 255 - mean) / std`` each.

    Parameters
    ----------
    frames, bit_order, border
        As in :func:`lbp`.
    mean, std
        Per channel, of codes scaled to 0..1; ``ModelSpec`` has a network's.
    out
        Where to write, float32 [3, T, H, W], contiguous, apart from ``frames``; a new array by default.

    Returns
    -------
    float32 [3, T, H, W].

    Raises
    ------
    InvalidInput
        As in :func:`lbp`, or if ``mean`` and ``std`` are not three finite numbers, or a ``std`` is not positive.
    EngineUnavailable
        If the forced backend declines.
    """
    frames, out = adopt(frames), adopt(out)
    _check(frames, bit_order, border)
    normalisation = affine.moments(mean, std)
    if out is None and arrays.is_tensor(frames):
        from dfer_edge.kernels.lbp import torch_op

        return torch_op.lbp_clip(frames, *normalisation, bit_order, border)
    target = arrays.output(out, (3, *frames.shape[:3]), ("float32",), frames)
    return _fill(frames, bit_order, border, normalisation, target)


def _fill(frames: Array, bit_order: str, border: str, normalisation: object, out: Array) -> Array:
    dispatch.run("lbp", arrays.contiguous(frames), BIT_ORDERS[bit_order], border == "zero", normalisation, out)
    return original(out)


def _check(frames: Array, bit_order: str, border: str) -> None:
    arrays.require("frames", frames, ("uint8",), "[T, H, W] (grey) or [T, H, W, 3] (RGB)", (3, 4))
    if frames.ndim == 4 and frames.shape[3] != 3:
        raise InvalidInput(f"expected frames as uint8 [T, H, W] or [T, H, W, 3], got {list(frames.shape)}")
    if bit_order not in BIT_ORDERS:
        raise InvalidInput(f"expected a bit order of {', '.join(BIT_ORDERS)}, got {bit_order!r}")
    if border not in BORDERS:
        raise InvalidInput(f"expected a border of {', '.join(BORDERS)}, got {border!r}")
