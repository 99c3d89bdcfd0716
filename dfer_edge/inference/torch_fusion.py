"""Convolution, bias, ReLU and residual addition of a traced network as one call of cuDNN.

ATen runs them as kernels of their own, each of which reads and writes the activations again: of slowr50 twice as many
bytes as all convolutions move. Equal to rounding. On the CPU the same calls compute with ATen's own convolution: the
rewriting is tested there; cuDNN's calls were not yet run on hardware.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

Tensor = torch.Tensor

aten = torch.ops.aten
# What leaves each element alone, and so may stand between a convolution and its ReLU.
_VIEWS = frozenset(
    {
        aten.view.default,
        aten._unsafe_view.default,
        aten.permute.default,
        aten.clone.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
    }
)
_ADDS = frozenset({aten.add.Tensor, operator.add})


def conv_relu(
    x: Tensor, weight: Tensor, bias: Tensor, stride: Sequence[int], padding: Sequence[int], z: Tensor | None
) -> Tensor:
    """``relu(conv(x, weight) + bias + z)``."""
    ones = [1] * len(stride)
    if x.is_cuda:
        if z is None:
            done: Tensor = aten.cudnn_convolution_relu(x, weight, bias, stride, padding, ones, 1)
        else:
            done = aten.cudnn_convolution_add_relu(x, weight, z, 1.0, bias, stride, padding, ones, 1)
        return done
    y = aten.convolution(x, weight, bias, stride, padding, ones, False, [0] * len(stride), 1)
    return torch.relu_(y if z is None else y.add_(z))


def fuse(network: Callable[..., Tensor], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """``network`` for inputs of these shapes, its convolutions fused with what follows them.

    Parameters
    ----------
    network
        Takes tensors and returns one; branches on nothing but shapes.
    inputs
        Of the shapes, dtype and device that it will be run with.
    """
    with torch.no_grad():
        traced = make_fx(network)(*inputs)
    for node in list(traced.graph.nodes):
        if node.op == "call_function" and node.target in (aten.relu.default, aten.relu_.default):
            _fuse_relu(traced.graph, node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def fused(traced: fx.GraphModule) -> int:
    """How many convolutions were fused."""
    return sum(node.target is conv_relu for node in traced.graph.nodes)


def _fuse_relu(graph: fx.Graph, relu: fx.Node) -> None:
    before = relu.args[0]
    if not isinstance(before, fx.Node):
        return
    conv = _convolution(before)
    z: fx.Node | None = None
    if conv is None and before.target in _ADDS and len(before.users) == 1 and not before.kwargs:
        sides = before.args[:2]
        for one, other in (sides, sides[::-1]):
            # Directly: what is added has the layout of the convolution's own output.
            if not (isinstance(one, fx.Node) and isinstance(other, fx.Node)) or other is one:
                continue
            if _is_plain(one) and _sizes(one) == _sizes(other):
                conv, z = one, other
                break
    if conv is None:
        return
    x, weight, bias, stride, padding = conv.args[:5]
    with graph.inserting_before(relu if z is not None else conv):
        done = graph.call_function(conv_relu, (x, weight, bias, stride, padding, z))
    done.meta = conv.meta
    if z is not None:
        relu.replace_all_uses_with(done)
    else:
        conv.replace_all_uses_with(done)
        relu.replace_all_uses_with(before if before is not conv else done)


def _convolution(node: fx.Node) -> fx.Node | None:
    """The convolution whose elements, and nothing else, ``node`` has; None if others read them before."""
    while node.op == "call_function" and node.target in _VIEWS and len(node.users) == 1:
        (node,) = node.all_input_nodes
    return node if _is_plain(node) else None


def _is_plain(node: object) -> bool:
    """A convolution that cuDNN fuses: with a bias, not dilated, transposed or grouped, read once."""
    if not isinstance(node, fx.Node) or node.target is not aten.convolution.default or len(node.users) != 1:
        return False
    arguments: tuple[Any, ...] = node.args
    _, _, bias, _, _, dilation, transposed, _, groups = arguments
    return isinstance(bias, fx.Node) and not transposed and groups == 1 and set(dilation) == {1}


def _sizes(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
