"""Starts from face-api's 68-point network: its weights as an ONNX file has them, its colours made grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.training.landmarks.fitted.network import MEAN, SIZE, LandmarkNet, Separable


def net_of(path: Path) -> LandmarkNet:
    """The network that sees on grey crops what face-api's sees; of spread and face it knows nothing yet.

    Raises
    ------
    CorruptArtifact, InvalidInput
        If the file is no ONNX file, or holds another network.
    """
    try:
        model = onnx.load(str(path))
    except Exception as error:  # a parser's error has no public base class
        raise CorruptArtifact(f"expected an ONNX file of face-api's 68-point network, got {path}") from error
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    net = LandmarkNet()
    try:
        with torch.no_grad():
            for number, block in enumerate(net.blocks):
                for index, conv in enumerate(block.convs):  # type: ignore[arg-type]
                    name = f"dense{number}/conv{index}"
                    if isinstance(conv, Separable):
                        _take(conv.depthwise.weight, stored[f"{name}dw"])
                        _take(conv.pointwise.weight, stored[f"{name}pw"])
                        _take(conv.pointwise.bias, stored[f"{name}b"])
            _first(net.get_submodule("blocks.0.convs.0.1"), stored)
            _take(net.points.weight, stored["fcw"].T)
            # Times the side the outputs are centres of pixels counted from 0; here edges are 0 and 1.
            _take(net.points.bias, stored["fcb"] + np.float32(0.5 / SIZE))
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"expected face-api's 68-point network, got {path}: {error}") from error
    return net


def _first(conv: nn.Module, stored: dict[str, np.ndarray]) -> None:
    """The first convolution of grey levels: all three colours are the same."""
    kernel, means = stored["dense0/w"], stored["mean"].reshape(-1)
    _take(conv.weight, kernel.sum(1, keepdims=True))  # type: ignore[arg-type]
    # Each colour had a mean of its own taken off; what lies beyond the edge is 0 after that.
    shift = (kernel.sum((2, 3)) * (np.float32(MEAN) - means) / 255).sum(1)
    _take(conv.bias, stored["dense0/wb"] + shift)  # type: ignore[arg-type]


def _take(parameter: torch.Tensor | None, value: np.ndarray) -> None:
    if parameter is None or tuple(parameter.shape) != value.shape:
        raise ValueError(f"an array of shape {list(value.shape)} where another is wanted")
    parameter.copy_(torch.from_numpy(np.array(value, np.float32)))
