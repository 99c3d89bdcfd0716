"""The detector as ONNX: norms folded into convolutions, weights stored as fp16, provenance in the metadata."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from dfer_edge.training.detector.network import OUTPUTS, STRIDES, DetectorNet
from dfer_edge.training.landmarks.export import folded
from dfer_edge.training.onnx_graph import NodeGraph, save


class _Graph(NodeGraph):
    """With what the detector needs."""

    def conv(self, x: str, conv: nn.Conv2d, kernel: np.ndarray, bias: np.ndarray | None, name: str = "") -> str:
        """A convolution whose kernel the runtime widens from fp16 once, when it loads the file."""
        weights = self.weight(kernel)
        inputs = [x, weights] if bias is None else [x, weights, self.constant(bias.astype(np.float32))]
        side = conv.kernel_size[0]
        sizes = {"kernel_shape": [side, side], "strides": list(conv.stride), "pads": list(conv.padding) * 2}
        return self.node("Conv", *inputs, name=name, group=conv.groups, **sizes)

    def sequence(self, x: str, layers: nn.Sequential, name: str = "") -> str:
        """Convolutions, each with the norm that follows it, and rectifiers; ``name`` is that of the last value."""
        flat = [layer for layer in layers.modules() if not isinstance(layer, nn.Sequential)]
        for index, layer in enumerate(flat):
            following = flat[index + 1] if index + 1 < len(flat) else None
            last = name if following is None else ""
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                x = self.conv(x, layer, *folded(layer, following))
            elif isinstance(layer, nn.Conv2d):
                x = self.plain(x, layer, last)
            elif isinstance(layer, nn.ReLU):
                x = self.node("Relu", x, name=last)
        return x

    def plain(self, x: str, conv: nn.Conv2d, name: str = "") -> str:
        bias = None if conv.bias is None else conv.bias.detach().numpy()
        return self.conv(x, conv, conv.weight.detach().numpy(), bias, name)


def lowered(net: DetectorNet, log_odds: float) -> DetectorNet:
    """A copy with so much taken off the log odds of every score.

    Targets are roots of overlaps, so scores lie higher than those for which the detector's thresholds were chosen.
    """
    net = copy.deepcopy(net)
    with torch.no_grad():
        for head in net.head:
            head[-1].bias[0] -= log_odds  # type: ignore[index]
    return net


def to_onnx(net: DetectorNet, metadata: dict[str, Any]) -> onnx.ModelProto:
    """An ONNX model of a trained network.

    Input ``grey`` uint8 [N, 1, H, W], sides divisible by 32. Outputs ``stride8``, ``stride16``, ``stride32`` float32
    [N, 15, H / stride, W / stride] as :class:`~dfer_edge.training.detector.network.DetectorNet` gives them.

    Parameters
    ----------
    metadata
        JSON-safe; goes into the file.
    """
    graph = _Graph()
    x = graph.node("Cast", "grey", to=TensorProto.FLOAT)
    x = graph.node("Sub", x, graph.constant(np.array(110.0, np.float32)))
    x = graph.node("Mul", x, graph.constant(np.array(1 / 64.0, np.float32)))
    x = graph.sequence(x, net.stem)
    features = []
    for stage, lateral in zip(net.stages, net.lateral, strict=True):
        x = graph.sequence(x, stage)  # type: ignore[arg-type]
        features.append(graph.plain(x, lateral))  # type: ignore[arg-type]
    doubled = graph.constant(np.array([1, 1, 2, 2], np.float32))
    for level in (1, 0):
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        wider = graph.node("Resize", features[level + 1], "", doubled, **modes)
        features[level] = graph.node("Add", features[level], wider)
    outputs = []
    for stride, feature, neck, head in zip(STRIDES, features, net.neck, net.head, strict=True):
        x = graph.sequence(feature, neck)  # type: ignore[arg-type]
        graph.sequence(x, head, f"stride{stride}")  # type: ignore[arg-type]
        shape = ["images", OUTPUTS, f"rows{stride}", f"columns{stride}"]
        outputs.append(helper.make_tensor_value_info(f"stride{stride}", TensorProto.FLOAT, shape))
    grey = helper.make_tensor_value_info("grey", TensorProto.UINT8, ["images", 1, "rows", "columns"])
    properties = {"weights_sha256": graph.digest(), **metadata}
    named = {f"dfer_edge.{name}": json.dumps(value) for name, value in properties.items()}
    return graph.model("faces", [grey], outputs, named)


def save_onnx(net: DetectorNet, path: Path, metadata: dict[str, Any]) -> None:
    """Write :func:`to_onnx`; raises as :func:`~dfer_edge.training.onnx_graph.save`."""
    save(to_onnx(net, metadata), path)
