"""`TorchGraph`: computes an inference form with torch, in any dtype and on any device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from dfer_edge.inference import torch_kernels
from dfer_edge.inference.base import Activation, Form, Graph
from dfer_edge.inference.torch_winograd import Winograd

Tensor = torch.Tensor

_ACTIVATIONS = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "gelu": F.gelu,
}


class TorchGraph(Graph[Tensor]):
    """Runs each operation at once.

    Parameters
    ----------
    weights
        Parameters of the inference form by name, in the 3-D layout, all of one dtype and device.
    form
        See :data:`dfer_edge.inference.base.Form`.
    kernels
        Fused kernels to run, out of :data:`dfer_edge.inference.torch_kernels.KERNELS`.
    constants
        Kept between runs of the same network: uploading them again would take time, and cannot be captured into a
        CUDA graph.
    winograd
        Computes the convolutions that it takes; kept between runs like ``constants``.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        form: Form = "3d",
        constants: dict[object, Tensor] | None = None,
        kernels: frozenset[str] = frozenset(),
        winograd: Winograd | None = None,
    ) -> None:
        super().__init__(form)
        self._winograd = winograd
        self._weights, self.kernels = weights, kernels
        self._constants = {} if constants is None else constants
        self._example = next(iter(weights.values()))

    def weight(self, name: str, shape: Sequence[int], gain: float = 1.0, layout: Sequence[int] | None = None) -> Tensor:
        value = self._weights[name]
        if layout is None or tuple(layout) == tuple(value.shape):
            return value
        # Dropping unit axes keeps a channels-last weight channels-last; a reshape would not promise it.
        return value.squeeze(2) if len(layout) == 4 and value.shape[2] == 1 else value.reshape(tuple(layout))

    def constant(self, values: object) -> Tensor:
        array = np.asarray(values)
        key = (array.tobytes(), array.dtype, array.shape, self._example.dtype, self._example.device)
        if key not in self._constants:
            value = torch.as_tensor(array, device=self._example.device)
            self._constants[key] = value.to(self._example.dtype) if value.is_floating_point() else value
        return self._constants[key]

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def kernel(self, name: str, *inputs: Tensor, weights: str = "", **options: Any) -> Tensor:
        return torch_kernels.KERNELS[name](self._weights, weights, *inputs, **options)

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
    ) -> Tensor:
        if self._winograd is not None and bias is not None and self._winograd.takes(x, weight, stride, padding):
            return self._winograd(x, weight, bias)
        run = F.conv3d if weight.ndim == 5 else F.conv2d
        return run(x, weight, bias, tuple(stride), tuple(padding))

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def activate(self, x: Tensor, kind: Activation) -> Tensor:
        return F.gelu(x, approximate="tanh") if kind == "gelu_tanh" else _ACTIVATIONS[kind](x)

    def softmax(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        return torch.softmax(x, -1, dtype=wide).to(x.dtype)

    def layer_norm(self, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=eps)

    def mean(self, x: Tensor, axes: Sequence[int], keepdims: bool = False) -> Tensor:
        return x.mean(tuple(axes), keepdim=keepdims)

    def max(self, x: Tensor, axes: Sequence[int], keepdims: bool = False) -> Tensor:
        return x.amax(tuple(axes), keepdim=keepdims)

    def max_pool(self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Tensor:
        run = F.max_pool3d if len(kernel) == 3 else F.max_pool2d
        return run(x, tuple(kernel), tuple(stride), tuple(padding))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape(tuple(shape))

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        return x.permute(tuple(order))

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        return torch.cat(list(parts), axis)

    def slice(self, x: Tensor, axis: int, start: int, stop: int) -> Tensor:
        return x.narrow(axis, start, stop - start)

    def pad(self, x: Tensor, axis: int, before: int, after: int) -> Tensor:
        amounts = [0, 0] * (x.ndim - 1 - axis) + [before, after]
        return F.pad(x, amounts)

    def attention_weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        wide = torch.promote_types(queries.dtype, torch.float32)
        return super().attention_weights(queries.to(wide), keys.to(wide)).to(queries.dtype)
