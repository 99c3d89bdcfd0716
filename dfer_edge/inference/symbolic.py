"""`SymbolicGraph`: records a network's nodes, shapes and weights without computing anything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfer_edge.inference.base import Activation, Form, Graph


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor in the recording: its name and shape, -1 for the dynamic leading axis."""

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class WeightInfo:
    """A parameter that the network asks for, with the layout(s) that the recorded form views it in."""

    name: str
    shape: tuple[int, ...]
    gain: float
    layout: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation in ONNX terms; ``macs`` per sample (conv, linear and matrix products only)."""

    op: str
    inputs: tuple[str, ...]
    output: Value
    attributes: dict[str, Any]
    macs: int = 0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a fused kernel can take over: what it makes of which values; see :meth:`SymbolicGraph.place`."""

    kernel: str
    inputs: tuple[Value, ...]
    output: Value
    weights: str
    options: dict[str, Any]


class SymbolicGraph(Graph[Value]):
    """Records nodes; shapes follow ONNX rules with the batch axis left open.

    Attributes
    ----------
    nodes
        In execution order.
    weights
        By parameter name.
    constants
        Fixed arrays by value name.
    places
        Of fused kernels, in execution order.
    """

    def __init__(self, form: Form = "3d") -> None:
        super().__init__(form)
        self.nodes: list[Node] = []
        self.weights: dict[str, WeightInfo] = {}
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.batch_factor: dict[str, int] = {}
        self.places: list[Place] = []

    def place(self, name: str, output: Value, *inputs: Value, weights: str = "", **options: Any) -> Value:
        self.places.append(Place(name, inputs, output, weights, options))
        return output

    # -- leaves ---------------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int]) -> Value:
        """A network input; ``shape`` without the batch axis."""
        self.batch_factor[name] = 1
        return Value(name, (-1, *shape))

    def weight(self, name: str, shape: Sequence[int], gain: float = 1.0, layout: Sequence[int] | None = None) -> Value:
        viewed = tuple(layout) if layout is not None else tuple(shape)
        self.weights[name] = WeightInfo(name, tuple(shape), gain, viewed)
        return Value(name, viewed)

    def constant(self, values: object) -> Value:
        array = np.asarray(values)
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
        return Value(name, array.shape)

    def shape(self, x: Value) -> tuple[int, ...]:
        return x.shape

    # -- recording ------------------------------------------------------------------------------------------

    def _emit(self, op: str, inputs: Sequence[Value], shape: Sequence[int], macs: int = 0, **attributes: Any) -> Value:
        output = Value(f"{op.lower()}_{len(self.nodes)}", tuple(shape))
        factor = max((self.batch_factor.get(value.name, 0) for value in inputs), default=0)
        self.batch_factor[output.name] = factor
        names = tuple(value.name for value in inputs)
        self.nodes.append(Node(op, names, output, attributes, macs * max(factor, 1)))
        return output

    def keep_only(self, output: Value) -> None:
        """Forget nodes, weights and constants that ``output`` does not need."""
        needed = {output.name}
        for node in reversed(self.nodes):
            if node.output.name in needed:
                needed.update(node.inputs)
        self.nodes = [node for node in self.nodes if node.output.name in needed]
        self.weights = {name: info for name, info in self.weights.items() if name in needed}
        self.constants = {name: value for name, value in self.constants.items() if name in needed}

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return sum(node.macs for node in self.nodes)

    @property
    def parameters(self) -> int:
        return sum(info.size for info in self.weights.values())

    # -- products -------------------------------------------------------------------------------------------

    def conv(self, x: Value, weight: Value, bias: Value | None, stride: Sequence[int], padding: Sequence[int]) -> Value:
        out, kernel = weight.shape[0], weight.shape[2:]
        spatial = [_windows(n, k, s, p) for n, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True)]
        macs = math.prod(spatial) * math.prod(weight.shape)
        inputs = (x, weight) if bias is None else (x, weight, bias)
        shape = (x.shape[0], out, *spatial)
        return self._emit("Conv", inputs, shape, macs, **_window_attributes(kernel, stride, padding))

    def linear(self, x: Value, weight: Value, bias: Value | None) -> Value:
        # Gemm takes matrices only: fold the middle axes into the rows and open them again.
        rows = self.reshape(x, (-1, x.shape[-1])) if len(x.shape) > 2 else x
        inputs = (rows, weight) if bias is None else (rows, weight, bias)
        y = self._emit("Gemm", inputs, (-1, weight.shape[0]), math.prod(weight.shape), transB=1)
        return self.reshape(y, (-1, *x.shape[1:-1], weight.shape[0])) if len(x.shape) > 2 else y

    def matmul(self, a: Value, b: Value) -> Value:
        rank = max(len(a.shape), len(b.shape))
        left, right = ((1,) * (rank - len(v.shape)) + v.shape for v in (a, b))
        lead = _broadcast(left[:-2], right[:-2])
        shape = (*lead, left[-2], right[-1])
        return self._emit("MatMul", (a, b), shape, abs(math.prod(shape)) * left[-1])

    # -- elementwise and reductions -------------------------------------------------------------------------

    def add(self, a: Value, b: Value) -> Value:
        return self._emit("Add", (a, b), _broadcast(a.shape, b.shape))

    def mul(self, a: Value, b: Value) -> Value:
        return self._emit("Mul", (a, b), _broadcast(a.shape, b.shape))

    def activate(self, x: Value, kind: Activation) -> Value:
        if kind in ("gelu", "gelu_tanh"):
            return self._gelu(x) if kind == "gelu" else self._gelu_tanh(x)
        return self._emit({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp"}[kind], (x,), x.shape)

    def _gelu(self, x: Value) -> Value:
        # Gelu is an operator from opset 20 on only; engines fuse exactly this pattern: x (1 + erf(x / sqrt 2)) 0.5.
        scaled = self._emit("Div", (x, self.constant(math.sqrt(2))), x.shape)
        gate = self._emit("Erf", (scaled,), x.shape)
        return self.mul(self.mul(x, self.add(gate, self.constant(1.0))), self.constant(0.5))

    def _gelu_tanh(self, x: Value) -> Value:
        # Gelu is an operator from opset 20 on only: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
        cube = self.mul(self.mul(x, x), x)
        inner = self.add(x, self.mul(cube, self.constant(0.044715)))
        gate = self.activate(self.mul(inner, self.constant(math.sqrt(2 / math.pi))), "tanh")
        return self.mul(self.mul(x, self.constant(0.5)), self.add(gate, self.constant(1.0)))

    def softmax(self, x: Value) -> Value:
        return self._emit("Softmax", (x,), x.shape, axis=-1)

    def layer_norm(self, x: Value, eps: float) -> Value:
        scale = self.constant(np.ones(x.shape[-1], np.float32))
        return self._emit("LayerNormalization", (x, scale), x.shape, axis=-1, epsilon=eps)

    def mean(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        shape = _reduced(x.shape, axes, keepdims)
        return self._emit("ReduceMean", (x,), shape, axes=tuple(axes), keepdims=int(keepdims))

    def max(self, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
        shape = _reduced(x.shape, axes, keepdims)
        return self._emit("ReduceMax", (x,), shape, axes=tuple(axes), keepdims=int(keepdims))

    def max_pool(self, x: Value, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Value:
        spatial = [_windows(n, k, s, p) for n, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True)]
        return self._emit("MaxPool", (x,), (*x.shape[:2], *spatial), 0, **_window_attributes(kernel, stride, padding))

    # -- layout ---------------------------------------------------------------------------------------------

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        target = self._emit("Reshape", (x, self.constant(np.asarray(shape, np.int64))), shape)
        if shape[0] == -1:
            # Rows per sample change when time is folded into the batch: needed for honest counts.
            rows = self.batch_factor[x.name] * abs(math.prod(x.shape[1:]))
            self.batch_factor[target.name] = rows // abs(math.prod(shape[1:]))
        return target

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        return self._emit("Transpose", (x,), [x.shape[axis] for axis in order], perm=tuple(order))

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self._emit("Concat", parts, shape, axis=axis)

    def slice(self, x: Value, axis: int, start: int, stop: int) -> Value:
        shape = list(x.shape)
        shape[axis] = stop - start
        bounds = (self.constant(np.asarray([number], np.int64)) for number in (start, stop, axis))
        return self._emit("Slice", (x, *bounds), shape)

    def pad(self, x: Value, axis: int, before: int, after: int) -> Value:
        shape = list(x.shape)
        shape[axis] += before + after
        amounts = np.zeros((2, len(shape)), np.int64)
        amounts[:, axis] = before, after
        return self._emit("Pad", (x, self.constant(amounts.reshape(-1))), shape)


def _window_attributes(kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> dict[str, Any]:
    return {"kernel_shape": tuple(kernel), "strides": tuple(stride), "pads": (*padding, *padding)}


def _windows(length: int, kernel: int, stride: int, padding: int) -> int:
    return (length + 2 * padding - kernel) // stride + 1


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    rank = max(len(a), len(b))
    left, right = ((1,) * (rank - len(s)) + tuple(s) for s in (a, b))
    return tuple(y if x == 1 else x for x, y in zip(left, right, strict=True))


def _reduced(shape: Sequence[int], axes: Sequence[int], keepdims: bool) -> tuple[int, ...]:
    drop = {axis % len(shape) for axis in axes}
    if keepdims:
        return tuple(1 if axis in drop else n for axis, n in enumerate(shape))
    return tuple(n for axis, n in enumerate(shape) if axis not in drop)
