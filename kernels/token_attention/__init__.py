"""`token_attention`: the self-attention head of SlowR50-SA, which sees a single token and is therefore affine."""

from __future__ import annotations

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import arrays, dispatch
from dfer_edge.kernels.arrays import Array
from dfer_edge.kernels.token_attention.weights import Folded, Printed, fold

__all__ = ["Folded", "Printed", "fold", "token_attention"]

DTYPES = ("float32", "float64", "float16", "bfloat16")


def token_attention(x: Array, weights: Printed | Folded, softmax: bool = False) -> Array:
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
    arrays.require("x", x, DTYPES, "[B, D]", (2,))
    _check(x, weights)
    if arrays.is_tensor(x):
        from dfer_edge.kernels.token_attention import torch_op

        return torch_op.token_attention(x, list(weights), softmax)
    out = arrays.empty((x.shape[0], len(weights.classifier_bias)), arrays.dtype_name(x), x)
    dispatch.run("token_attention", arrays.contiguous(x), [arrays.contiguous(w) for w in weights], softmax, out)
    return out


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
