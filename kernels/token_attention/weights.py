"""The weights of the head, as printed and folded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dfer_edge.kernels.arrays import Array, is_tensor


class Printed(NamedTuple):
    """The head as printed, without the query and key projections, which act on nothing (see README.md).

    Widths: D of the token, E of the values (D in the paper), H of the hidden layer, K classes.

    Attributes
    ----------
    value_weight, value_bias
        [E, D] and [E]: the last third of ``nn.MultiheadAttention``'s ``in_proj_weight`` and ``in_proj_bias``.
    out_weight, out_bias
        [D, E] and [D].
    fc_weight, fc_bias
        [H, D] and [H].
    classifier_weight, classifier_bias
        [K, H] and [K].
    """

    value_weight: Array
    value_bias: Array
    out_weight: Array
    out_bias: Array
    fc_weight: Array
    fc_bias: Array
    classifier_weight: Array
    classifier_bias: Array


class Folded(NamedTuple):
    """The head with its attention folded into one affine map, ReLU(A x + c) before the classifier.

    Attributes
    ----------
    weight, bias
        A [H, D] and c [H]; :func:`fold` makes them.
    classifier_weight, classifier_bias
        [K, H] and [K].
    """

    weight: Array
    bias: Array
    classifier_weight: Array
    classifier_bias: Array


def fold(head: Printed) -> Folded:
    """A = W_fc (I + W_o W_v), c = W_fc (W_o b_v + b_o) + b_fc, computed in float64 and rounded to the head's dtype."""
    w_v, b_v, w_o, b_o, w_fc, b_fc = (_double(array) for array in head[:6])
    weight, bias = w_fc + w_fc @ w_o @ w_v, w_fc @ (w_o @ b_v + b_o) + b_fc
    return Folded(
        _round(weight, head.fc_weight), _round(bias, head.fc_bias), head.classifier_weight, head.classifier_bias
    )


def _double(array: Array) -> Array:
    return array.double() if is_tensor(array) else np.asarray(array, np.float64)


def _round(array: Array, like: Array) -> Array:
    return array.to(like.dtype) if is_tensor(array) else array.astype(like.dtype)
