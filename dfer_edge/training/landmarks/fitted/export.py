"""The landmark network as ONNX: weights stored as fp16, provenance in the metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from dfer_edge.training.landmarks.file_format import model_of
from dfer_edge.training.landmarks.fitted.network import DOWN, MARGIN, MEAN, POINTS, SIZE, Block, LandmarkNet, Separable
from dfer_edge.training.onnx_graph import NodeGraph, save


class _Graph(NodeGraph):
    """With what the landmark network needs."""

    def conv(self, x: str, conv: nn.Conv2d) -> str:
        weights = [self.weight(conv.weight.detach().numpy())]
        if conv.bias is not None:
            weights.append(self.constant(conv.bias.detach().numpy()))
        before = conv.kernel_size[0] // 2 if conv.stride == (1, 1) else 0
        pads = [before, before, conv.kernel_size[0] // 2, conv.kernel_size[0] // 2]
        side, stride = list(conv.kernel_size), list(conv.stride)
        return self.node("Conv", x, *weights, group=conv.groups, kernel_shape=side, strides=stride, pads=pads)

    def linear(self, x: str, layer: nn.Linear) -> str:
        product = self.node("MatMul", x, self.weight(layer.weight.detach().numpy().T))
        return self.node("Add", product, self.constant(layer.bias.detach().numpy()))

    def block(self, x: str, block: Block) -> str:
        total = ""
        for conv in block.convs:
            layers = (conv.depthwise, conv.pointwise) if isinstance(conv, Separable) else (conv[1],)  # type: ignore[index]
            for layer in layers:
                x = self.conv(x, layer)
            x = self.node("Relu", self.node("Add", total, x) if total else x)
            total = self.nodes[-2].output[0] if total else x
        return x


def to_onnx(net: LandmarkNet, metadata: dict[str, Any]) -> onnx.ModelProto:
    """An ONNX model of a trained network.

    Input ``image`` float32 [N, 1, 112, 112], grey levels 0 to 255 (Rec. 601). Outputs ``points`` [N, 68, 2], ``spread``
    [N, 68], ``face`` [N] as :class:`~dfer_edge.faces.landmark_networks.RenderedFace68` reads them.

    Parameters
    ----------
    metadata
        JSON-safe; goes into the file beside what the network needs to be run.
    """
    graph = _Graph()
    x = graph.node("Sub", "image", graph.constant(np.array(MEAN, np.float32)))
    x = graph.node("Mul", x, graph.constant(np.array(1 / 255, np.float32)))
    pooled = []
    for block in net.blocks:
        x = graph.block(x, block)  # type: ignore[arg-type]
        pooled.append(graph.node("Flatten", graph.node("GlobalAveragePool", x)))
    _heads(graph, net, pooled[1:])
    return model_of(graph, SIZE, MARGIN, DOWN, metadata)


def _heads(graph: _Graph, net: LandmarkNet, pooled: list[str]) -> None:
    flat = graph.linear(pooled[-1], net.points)
    graph.node("Reshape", flat, graph.constant(np.array([-1, POINTS, 2])), name="points")
    features = graph.node("Concat", *pooled, axis=1)
    graph.node("Exp", graph.linear(features, net.spread), name="spread")
    hidden = graph.node("Relu", graph.linear(features, net.face[0]))  # type: ignore[arg-type]
    logit = graph.linear(hidden, net.face[2])  # type: ignore[arg-type]
    graph.node("Sigmoid", graph.node("Reshape", logit, graph.constant(np.array([-1]))), name="face")


def save_onnx(net: LandmarkNet, path: Path, metadata: dict[str, Any]) -> None:
    """Write :func:`to_onnx`; raises as :func:`~dfer_edge.training.onnx_graph.save`."""
    save(to_onnx(net, metadata), path)
