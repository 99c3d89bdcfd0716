"""`Graph`: the operations that an inference form is written in.

Each network's exact inference form is written once, as a function ``build(graph, inputs, spec)``. Run on a
:class:`~dfer_edge.inference.torch_graph.TorchGraph` it computes; run on a
:class:`~dfer_edge.inference.symbolic.SymbolicGraph` it records the nodes from which the ONNX file, the
multiply-accumulate count and the list of weights are read. No definition exists twice.

Shapes are known everywhere except for the leading (batch) axis, so ``reshape`` takes ``-1`` there.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

Form = Literal["3d", "2d", "shifted"]
"""How a clip convolution is written; all are equal to rounding.

- ``3d``: on [B, C, T, H, W], as in the papers.
- ``2d``: time folded into the batch, [B*T, C, H, W]; a temporal convolution is (k, 1) on [B, C, T, H*W].
- ``shifted``: as ``2d``, but a temporal convolution is a 1x1 on the channel concatenation of shifted frames.
"""

FORMS: tuple[Form, ...] = ("3d", "2d", "shifted")

Activation = Literal["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "exp"]


class Graph(abc.ABC, Generic[T]):
    """Operations on tensors of one backend; semantics are those of ONNX opset 17."""

    kernels: frozenset[str] = frozenset()
    """Fused kernels that take the place of the operations they stand for; see :mod:`dfer_edge.kernels`."""

    def __init__(self, form: Form = "3d") -> None:
        self.form = form

    def kernel(self, name: str, *inputs: T, weights: str = "", **options: Any) -> T:
        """What a fused kernel out of :attr:`kernels` makes of ``inputs`` and of the weights below the name ``weights``.

        Equal to rounding to the operations that the caller would emit instead.
        """
        raise NotImplementedError(f"{type(self).__name__} has no kernel {name}")

    def place(self, name: str, output: T, *inputs: T, weights: str = "", **options: Any) -> T:
        """``output``, which operations made of ``inputs``: the place of a fused kernel, for those who cut a file there.

        Arguments are those of :meth:`kernel`, but for landmarks, which come in pixels.
        """
        return output

    @abc.abstractmethod
    def weight(self, name: str, shape: Sequence[int], gain: float = 1.0, layout: Sequence[int] | None = None) -> T:
        """Parameter ``name`` of ``shape``, viewed as ``layout`` (same elements in the same order).

        ``gain`` is only for seeded random weights: their standard deviation is ``gain / sqrt(fan_in)`` with
        fan_in the product of all axes but the first; one-axis parameters are drawn with deviation ``gain``.
        """

    @abc.abstractmethod
    def constant(self, values: object) -> T:
        """A fixed array (numpy) that is no parameter, e.g. a grid or an adjacency matrix."""

    @abc.abstractmethod
    def shape(self, x: T) -> tuple[int, ...]:
        """Shape of ``x``; the leading axis may be reported as -1."""

    @abc.abstractmethod
    def conv(self, x: T, weight: T, bias: T | None, stride: Sequence[int], padding: Sequence[int]) -> T:
        """Convolution over all axes after the second; zero padding, symmetric per axis."""

    @abc.abstractmethod
    def linear(self, x: T, weight: T, bias: T | None) -> T:
        """``x @ weight.T + bias`` over the last axis; ``weight`` is [out, in]."""

    @abc.abstractmethod
    def matmul(self, a: T, b: T) -> T: ...

    @abc.abstractmethod
    def add(self, a: T, b: T) -> T: ...

    @abc.abstractmethod
    def mul(self, a: T, b: T) -> T: ...

    @abc.abstractmethod
    def activate(self, x: T, kind: Activation) -> T: ...

    @abc.abstractmethod
    def softmax(self, x: T) -> T:
        """Softmax over the last axis, computed in fp32 or wider."""

    @abc.abstractmethod
    def layer_norm(self, x: T, eps: float) -> T:
        """Normalisation over the last axis without scale and shift (they are folded)."""

    @abc.abstractmethod
    def mean(self, x: T, axes: Sequence[int], keepdims: bool = False) -> T: ...

    @abc.abstractmethod
    def max(self, x: T, axes: Sequence[int], keepdims: bool = False) -> T: ...

    @abc.abstractmethod
    def max_pool(self, x: T, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> T: ...

    @abc.abstractmethod
    def reshape(self, x: T, shape: Sequence[int]) -> T: ...

    @abc.abstractmethod
    def transpose(self, x: T, order: Sequence[int]) -> T: ...

    @abc.abstractmethod
    def concat(self, parts: Sequence[T], axis: int) -> T: ...

    @abc.abstractmethod
    def slice(self, x: T, axis: int, start: int, stop: int) -> T: ...

    @abc.abstractmethod
    def pad(self, x: T, axis: int, before: int, after: int) -> T:
        """Zeros before and after along one axis."""

    def relu(self, x: T) -> T:
        return self.activate(x, "relu")

    def attention_weights(self, queries: T, keys: T) -> T:
        """``softmax(queries @ keys^T)`` over the keys, [..., N, N] of [..., N, d] each.

        Scores and softmax in fp32 or wider: unscaled scores overflow fp16. The result has the dtype of ``queries``.
        """
        last = len(self.shape(keys)) - 1
        return self.softmax(self.matmul(queries, self.transpose(keys, (*range(last - 1), last, last - 1))))
