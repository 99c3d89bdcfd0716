"""`attention_gate`: the gates of AGFER, SEFER and CBAMFER with the 2 x 2 max pooling after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import arrays, dispatch
from dfer_edge.kernels.arrays import Array
from dfer_edge.kernels.attention_gate.rules import KINDS, SHAPES, ordered
from dfer_edge.kernels.device_array import DeviceArray, adopt, original

__all__ = ["KINDS", "attention_gate", "scratch_size"]

DTYPES = ("float32", "float64", "float16", "bfloat16")


def attention_gate(
    x: Array,
    kind: str,
    weights: Mapping[str, Array],
    pool: bool = True,
    out: Array | None = None,
    scratch: Array | None = None,
) -> Array:
    """Gate a feature map, then max pool it 2 x 2 (paper 002).

    - ``se``: x sig(F2 relu F1 mean(x)).
    - ``agfer``: x sig(a s) with a = sig(F2 relu F1 mean(x)) by channel and s = sig(conv3x3 relu conv3x3 m) by pixel, m
      the mean over channels.
    - ``cbam``: y = x sig(F2 relu F1 mean(x) + F2' relu F1' max(x)); y sig(conv7x7 [max, mean of y over channels]).

    Convolutions have stride 1 and zero padding. For inference: there are no gradients; train with
    :mod:`dfer_edge.models.vgg`.

    Parameters
    ----------
    x
        [N, C, H, W], numpy or torch; float32, float64, float16, or bfloat16 (torch only). Sums are in float32 or wider.
    kind
        ``"agfer"``, ``"se"`` or ``"cbam"``.
    weights
        By name, of x's dtype, library and device; the names are those of a network's gate without their prefix
        ``gates.<stage>.``: see :data:`dfer_edge.kernels.attention_gate.rules.SHAPES`.
    pool
        Max pool after the gate; a last row or column without a partner is dropped, as in torch.
    out, scratch
        For arrays of other libraries on a device (``__cuda_array_interface__``, DLPack), which all are then: where to
        write, and float32 memory of :func:`scratch_size` elements, for a call at a time.

    Returns
    -------
    [N, C, H // 2, W // 2], or [N, C, H, W] without ``pool``; dtype, library and device of ``x``.

    Raises
    ------
    InvalidInput
        For an unknown kind, a missing, unknown or misshapen weight, a wrong dtype, rank or mix of devices, a map
        without pixels (or smaller than 2 x 2 with ``pool``), or a tensor that requires a gradient.
    EngineUnavailable
        If the forced backend declines.
    """
    x, out, scratch = adopt(x), adopt(out), adopt(scratch)
    weights = {name: adopt(array) for name, array in weights.items()} if isinstance(weights, Mapping) else weights
    arrays.require("x", x, DTYPES, "[N, C, H, W]", (4,))
    least = 2 if pool else 1
    if not x.shape[1] or min(x.shape[2:]) < least:
        raise InvalidInput(f"expected x with a channel and at least {least} x {least} pixels, got {list(x.shape)}")
    parameters = ordered(kind, weights, x)
    if isinstance(x, DeviceArray) or out is not None or scratch is not None:
        return _into(x, kind, parameters, pool, out, scratch)
    if arrays.is_tensor(x):
        from dfer_edge.kernels.attention_gate import torch_op

        return torch_op.gate(x, kind, parameters, pool)
    out = arrays.empty(out_shape(x.shape, pool), arrays.dtype_name(x), x)
    dispatch.run("attention_gate", arrays.contiguous(x), kind, parameters, pool, out)
    return out


def scratch_size(shape: Sequence[int], kind: str, weights: Mapping[str, Array]) -> int:
    """Elements of ``scratch`` for x of ``shape``; needs the CUDA module."""
    from dfer_edge.kernels.attention_gate import cuda_impl

    return cuda_impl.scratch_size(shape, kind, [adopt(weights[name]) for name in SHAPES[kind]])


def _into(x: Array, kind: str, parameters: list[Array], pool: bool, out: Array | None, scratch: Array | None) -> Array:
    if not isinstance(x, DeviceArray):
        raise InvalidInput("expected out and scratch for arrays of other libraries only", "leave them away")
    target = arrays.output(out, out_shape(x.shape, pool), (arrays.dtype_name(x),), x, *parameters)
    # How much it has to be, only the module that runs knows.
    dispatch.run("attention_gate", arrays.contiguous(x), kind, parameters, pool, target, scratch)
    return original(target)


def out_shape(shape: tuple[int, ...], pool: bool) -> tuple[int, int, int, int]:
    """Of the result for x of ``shape``."""
    count, channels, height, width = shape
    return (count, channels, height // 2, width // 2) if pool else (count, channels, height, width)
