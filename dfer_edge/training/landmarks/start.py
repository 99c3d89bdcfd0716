"""Starts from the weights in a shipped file: its folded convolutions become convolutions with norms again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.training.landmarks.network import POINTS, STEM, LandmarkNet


def net_of(path: Path, grey: torch.Tensor) -> LandmarkNet:
    """The network in an exported file, ready to be trained on.

    Parameters
    ----------
    grey
        float [B, 1, S, S]: crops as in training. The norms take their statistics from them, so that the network
        computes the same as the file on these.

    Raises
    ------
    InvalidInput
        If the file holds another network.
    """
    model = onnx.load(str(path))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    cast = {node.output[0]: stored[node.input[0]] for node in model.graph.node if node.op_type == "Cast"}
    net = LandmarkNet().eval()
    folded = [[cast[node.input[1]], stored[node.input[2]]] for node in model.graph.node if len(node.input) == 3]
    folded = [pair for pair in folded if pair[0].ndim == 4]
    pairs = list(_pairs(net))
    if folded and folded[0][0].shape[2:] == (5, 5):  # files of crops of 64 pixels
        folded[0][0] = _resampled(folded[0][0], STEM, 2 / 3)
    if [pair[0].shape for pair in folded] != [tuple(conv.weight.shape) for conv, _ in pairs]:
        raise InvalidInput(f"expected an exported landmark network of this version, got {path}")
    for (kernel, bias), (conv, norm) in zip(folded, pairs, strict=True):
        conv.weight.data.copy_(torch.from_numpy(kernel.astype(np.float32)))
        norm.register_forward_pre_hook(_calibrate(torch.from_numpy(bias.astype(np.float32))))
    _head(net, model, cast, stored)
    with torch.no_grad():
        net(grey)
    for _, norm in pairs:
        norm._forward_pre_hooks.clear()
    return net


def _resampled(kernel: np.ndarray, size: int, step: float) -> np.ndarray:
    """Kernels [N, C, K, K] for pixels that are ``step`` times as far apart; linear between the weights, 0 outside."""
    old = np.arange(kernel.shape[-1]) - kernel.shape[-1] // 2
    at = (np.arange(size) - size // 2) * step
    weights = np.clip(1 - np.abs(at[:, None] - old), 0, None) * step
    return np.asarray(np.einsum("ncij,yi,xj->ncyx", kernel.astype(np.float64), weights, weights))


def _pairs(net: LandmarkNet) -> Any:
    """Convolutions and their norms in the order of the exported graph."""
    from dfer_edge.training.landmarks.network import Block

    waiting: nn.Conv2d | None = None
    for layer in net.body:
        if isinstance(layer, Block):
            yield layer.first, layer.norm1
            yield layer.second, layer.norm2
            if isinstance(layer.shortcut, nn.Sequential):
                yield layer.shortcut[1], layer.shortcut[2]
        elif isinstance(layer, nn.Conv2d):
            waiting = layer
        elif isinstance(layer, nn.BatchNorm2d):
            yield waiting, layer


def _calibrate(bias: torch.Tensor) -> Any:
    def hook(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False)
        for buffer, value in ((norm.running_mean, mean), (norm.running_var, variance)):
            assert buffer is not None  # noqa: S101 - made with running statistics
            buffer.copy_(value)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(bias + mean)

    return hook


def _head(net: LandmarkNet, model: onnx.ModelProto, cast: dict[str, Any], stored: dict[str, Any]) -> None:
    """Undo the scale and offset that the export folds into the heads."""
    made = {node.output[0]: node for node in model.graph.node}
    adds = [node for node in model.graph.node if node.op_type == "Add" and node.input[0] in made]
    adds = [node for node in adds if made[node.input[0]].op_type == "MatMul"]
    matrices = [cast[made[node.input[0]].input[1]].astype(np.float32) for node in adds]
    biases = [stored[node.input[1]].astype(np.float32) for node in adds]
    matrix, bias = np.concatenate(matrices, axis=1), np.concatenate(biases)
    ends = 2 * POINTS
    matrix[:, :ends], bias[:ends] = 4 * matrix[:, :ends], 4 * (bias[:ends] - 0.5)
    bias[ends:-1] += 3.5
    net.head.weight.data.copy_(torch.from_numpy(matrix.T.copy()))
    net.head.bias.data.copy_(torch.from_numpy(bias))
