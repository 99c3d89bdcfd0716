"""The landmark network as ONNX: norms folded into convolutions, weights stored as fp16, provenance in the metadata.

The file looks at each crop and at its mirror image and answers with the mean of both: a mirrored face has mirrored
points, and their distance from the truth is some 4 % less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import nn

from dfer_edge.training.landmarks.crops import DOWN, MARGIN, MIRROR
from dfer_edge.training.landmarks.file_format import model_of
from dfer_edge.training.landmarks.network import FLOOR, POINTS, SIZE, Block, LandmarkNet
from dfer_edge.training.onnx_graph import NodeGraph, save


class _Graph(NodeGraph):
    """With what the landmark network needs."""

    def halves(self, x: str) -> tuple[str, str]:
        """The first and second half of a batch."""
        first, second = f"first{len(self.nodes)}", f"second{len(self.nodes)}"
        self.nodes.append(helper.make_node("Split", [x], [first, second], name=f"split{len(self.nodes)}", axis=0))
        return first, second

    def mean(self, a: str, b: str, name: str) -> str:
        return self.node("Mul", self.node("Add", a, b), self.constant(np.array(0.5, np.float32)), name=name)

    def conv(self, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        kernel, bias = folded(conv, norm)
        side = conv.kernel_size[0]
        return self.node(
            "Conv",
            x,
            self.weight(kernel),
            self.constant(bias.astype(np.float32)),
            kernel_shape=[side, side],
            strides=list(conv.stride),
            pads=[side // 2] * 4,
        )

    def block(self, x: str, block: Block) -> str:
        inner = self.node("Relu", self.conv(x, block.first, block.norm1))
        inner = self.conv(inner, block.second, block.norm2)
        if isinstance(block.shortcut, nn.Sequential):
            x = self.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = self.conv(x, block.shortcut[1], block.shortcut[2])  # type: ignore[arg-type]
        return self.node("Relu", self.node("Add", inner, x))


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias in float64 of a convolution without bias, followed by a norm at inference."""
    assert norm.running_mean is not None  # noqa: S101 - made with running statistics
    assert norm.running_var is not None  # noqa: S101
    kernel, mean, variance, gain, bias = (
        tensor.detach().double().numpy()
        for tensor in (conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    scale = gain / np.sqrt(variance + norm.eps)
    return kernel * scale[:, None, None, None], bias - mean * scale


def to_onnx(net: LandmarkNet, metadata: dict[str, Any]) -> onnx.ModelProto:
    """An ONNX model of a trained network.

    Input ``image`` float32 [N, 1, 96, 96], grey levels 0 to 255 (Rec. 601). Outputs ``points`` [N, 68, 2], ``spread``
    [N, 68], ``face`` [N] as :class:`~dfer_edge.faces.landmark_networks.RenderedFace68` reads them.

    Parameters
    ----------
    metadata
        JSON-safe; goes into the file beside what the network needs to be run.
    """
    graph = _Graph()
    x = _centred(graph)
    x = graph.node("Concat", x, _reversed(graph, x), axis=0)
    for layer in net.body:
        if isinstance(layer, Block):
            x = graph.block(x, layer)
        elif isinstance(layer, nn.Conv2d):
            conv = layer
        elif isinstance(layer, nn.BatchNorm2d):
            x = graph.node("Relu", graph.conv(x, conv, layer))
    _heads(graph, graph.node("Flatten", x), net.head)
    return model_of(graph, SIZE, MARGIN, DOWN, metadata)


def _centred(graph: _Graph) -> str:
    """Grey levels of mean 0 and about unit variance, as the network was trained."""
    centred = graph.node("Sub", "image", graph.node("ReduceMean", "image", axes=[2, 3], keepdims=1))
    power = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes=[2, 3], keepdims=1)
    spread = graph.node("Add", graph.node("Sqrt", power), graph.constant(np.array(FLOOR, np.float32)))
    return graph.node("Div", centred, spread)


def _reversed(graph: _Graph, x: str) -> str:
    """Columns of [N, 1, S, S] from right to left."""
    first, last, axis, step = (graph.constant(np.array([k])) for k in (-1, -SIZE - 1, 3, -1))
    return graph.node("Slice", x, first, last, axis, step)


def _heads(graph: _Graph, x: str, head: nn.Linear) -> None:
    """One matrix for each output; scale and offset of the points are folded in."""
    matrix = head.weight.detach().double().numpy().T.copy()
    bias = head.bias.detach().double().numpy().copy()
    ends = 2 * POINTS
    matrix[:, :ends], bias[:ends] = 0.25 * matrix[:, :ends], 0.5 + 0.25 * bias[:ends]
    bias[ends:-1] -= 3.5
    parts = [slice(0, ends), slice(ends, 3 * POINTS), slice(3 * POINTS, None)]
    flat, spread, face = (
        graph.node(
            "Add", graph.node("MatMul", x, graph.weight(matrix[:, part])), graph.constant(bias[part].astype("f"))
        )
        for part in parts
    )
    points = graph.node("Reshape", flat, graph.constant(np.array([-1, POINTS, 2])))
    face = graph.node("Sigmoid", graph.node("Reshape", face, graph.constant(np.array([-1]))))
    numbers = graph.constant(MIRROR.astype(np.int64))
    straight, mirrored = graph.halves(points)
    mirrored = graph.node(
        "Mul", graph.node("Gather", mirrored, numbers, axis=1), graph.constant(np.array([-1, 1], np.float32))
    )
    mirrored = graph.node("Add", mirrored, graph.constant(np.array([1, 0], np.float32)))
    graph.mean(straight, mirrored, "points")
    straight, mirrored = graph.halves(graph.node("Exp", spread))
    graph.mean(straight, graph.node("Gather", mirrored, numbers, axis=1), "spread")
    graph.mean(*graph.halves(face), "face")


def save_onnx(net: LandmarkNet, path: Path, metadata: dict[str, Any]) -> None:
    """Write :func:`to_onnx`; raises as :func:`~dfer_edge.training.onnx_graph.save`."""
    save(to_onnx(net, metadata), path)


def load_checkpoint(path: Path) -> LandmarkNet:
    """The averaged network of a checkpoint."""
    net = LandmarkNet()
    net.load_state_dict(torch.load(path, weights_only=True)["averaged"])
    return net.eval()
