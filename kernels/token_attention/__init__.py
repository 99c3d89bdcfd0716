"""`token_attention`: the self-attention head of SlowR50-SA, which sees a single token and is therefore affine."""

from __future__ import annotations

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import arrays, dispatch
from dfer_edge.kernels.arrays import Array
from dfer_edge.kernels.device_array import DeviceArray, adopt, original
from dfer_edge.kernels.token_attention.weights import Folded, Printed, fold

__all__ = ["Folded", "Printed", "fold", "scratch_size", "token_attention"]

DTYPES = ("float32", "float64", "float16", "bfloat16")


def token_attention(
    x: Array,
    weights: Printed | Folded,
    softmax: bool = False,
    out: Array | None = None,
    scratch: Array | None = None,
) -> Array:
    """Scores of one pooled token: attention, residual, hidden layer with ReLU, classifier (paper 000).

    With one token the attention's softmax is 1 whatever query and key are, so every head returns its value:

    - ``Printed``: W_cls relu(W_fc (x + W_o (W_v x + b_v) + b_o) + b_fc) + b_cls, with gradients for training;
    - ``Folded``: W_cls relu(A x + c) + b_cls, the same to rounding with a ninth of the products; :func:`fold` makes it.

    Parameters
    ----------
    x
        [B, D], numpy or torch; float32, float64, float16, or bfloat16 (torch only). Sums are in float32 or wider.
    weights
        Of the dtype, library and device of ``x``.
    softmax
        Return probabilities instead of logits.
    out, scratch
        For arrays of other libraries on a device (``__cuda_array_interface__``, DLPack), which all are then: where to
        write, and float32 memory of :func:`scratch_size` elements, zeros before its first call and a call at a time.

    Returns
    -------
    [B, K], of the dtype, library and device of ``x``.

    Raises
    ------
    InvalidInput
        For a wrong dtype, rank, shape or mix of devices.
    EngineUnavailable
        If the forced backend declines.
    """
    x, out, scratch = adopt(x), adopt(out), adopt(scratch)
    weights = type(weights)(*map(adopt, weights)) if isinstance(weights, Printed | Folded) else weights
    arrays.require("x", x, DTYPES, "[B, D]", (2,))
    _check(x, weights)
    if isinstance(x, DeviceArray) or out is not None or scratch is not None:
        return _into(x, weights, softmax, out, scratch)
    if arrays.is_tensor(x):
        from dfer_edge.kernels.token_attention import torch_op

        return torch_op.token_attention(x, list(weights), softmax)
    out = arrays.empty((x.shape[0], len(weights.classifier_bias)), arrays.dtype_name(x), x)
    dispatch.run("token_attention", arrays.contiguous(x), [arrays.contiguous(w) for w in weights], softmax, out)
    return out


def scratch_size(tokens: int, weights: Printed | Folded) -> int:
    """Elements of ``scratch`` for so many tokens: their hidden units, and a counter."""
    return tokens * int(adopt(weights[1]).shape[0]) + 1


def _into(x: Array, weights: Printed | Folded, softmax: bool, out: Array | None, scratch: Array | None) -> Array:
    if not isinstance(x, DeviceArray):
        raise InvalidInput("expected out and scratch for arrays of other libraries only", "leave them away")
    shape = (x.shape[0], weights[-1].shape[0])
    target = arrays.output(out, shape, (arrays.dtype_name(x),), x, *weights)
    memory = arrays.scratch_of(scratch, scratch_size(x.shape[0], weights), x)
    parameters = [arrays.contiguous(weight) for weight in weights]
    dispatch.run("token_attention", arrays.contiguous(x), parameters, softmax, target, memory)
    return original(target)


def _check(x: Array, weights: Printed | Folded) -> None:
    if not isinstance(weights, Printed | Folded):
        raise InvalidInput(f"expected weights as Printed or Folded, got {type(weights).__name__}")
    dtype, width = (arrays.dtype_name(x),), x.shape[1]
    named = weights._asdict()
    for name, array in named.items():
        bias = name.endswith("bias")
        arrays.require(name, array, dtype, "[out]" if bias else "[out, in]", (1 if bias else 2,))
    for matrix, bias in zip(weights[::2], weights[1::2], strict=True):
        shapes = f"{list(matrix.shape)} and {list(bias.shape)}"
        if matrix.shape[1] != width or matrix.shape[0] != bias.shape[0] or not matrix.shape[0]:
            names = ", ".join(f"{name} {list(array.shape)}" for name, array in named.items())
            raise InvalidInput(f"expected a weight [out, {width}] and its bias [out], got {shapes} among {names}")
        width = matrix.shape[0]
    if isinstance(weights, Printed) and weights.out_bias.shape[0] != x.shape[1]:
        raise InvalidInput(f"expected an output projection onto {x.shape[1]}, got onto {weights.out_bias.shape[0]}")
    arrays.require_together({"x": x, **named})
