"""Channels between two convolutions rounded up with zeros: exact, and int8 tensor cores get multiples of 32.

R(2+1)D has 45, 144, 230 and 460 channels between its spatial and temporal convolutions; at 32 they become 64, 160, 256
and 480, which costs 9 % more products. A zero filter with zero bias gives zeros, also after a ReLU, and meets zero
weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from dfer_edge.calibration.graph import GraphIndex, attribute
from dfer_edge.engines.external import tensor_array
from dfer_edge.errors import CalibrationError


def pad_channels(model: onnx.ModelProto, multiple: int, folder: Path) -> dict[str, tuple[int, int]]:
    """Pad every pair of convolutions with only a ReLU and data movement between them, in place.

    Parameters
    ----------
    model
        A float network.
    multiple
        What channel counts are rounded up to, at least 1.
    folder
        Where weights outside the file lie.

    Returns
    -------
    First weight of each padded pair -> channels before and after.

    Raises
    ------
    CalibrationError
        For a multiple below 1.
    """
    if multiple < 1:
        raise CalibrationError(f"expected channels padded to a multiple of at least 1, got {multiple}")
    index, padded = GraphIndex(model), {}
    for node in model.graph.node:
        if node.op_type != "Conv" or node.input[1] not in index.constants or attribute(node, "group", 1) != 1:
            continue
        channels = index.constants[node.input[1]].dims[0]
        wide = -(-channels // multiple) * multiple
        path = _path(index, node, channels)
        if wide != channels and path is not None:
            _pad_pair(index, node, path, channels, wide, folder)
            padded[node.input[1]] = (channels, wide)
    return padded


def _path(index: GraphIndex, start: onnx.NodeProto, channels: int) -> list[onnx.NodeProto] | None:
    """Nodes after ``start`` up to and with the next convolution, if nothing else reads what they make."""
    path, tensor = [], start.output[0]
    while len(index.consumers[tensor]) == 1:
        node = index.consumers[tensor][0]
        path.append(node)
        if node.op_type == "Conv":
            return path if _reads_all(index, node, tensor, channels) else None
        if node.op_type == "Reshape" and not _keeps_channels(index, node, channels):
            return None
        if node.op_type not in ("Relu", "Transpose", "Reshape"):
            return None
        tensor = node.output[0]
    return None


def _reads_all(index: GraphIndex, node: onnx.NodeProto, tensor: str, channels: int) -> bool:
    weight = index.constants.get(node.input[1])
    return node.input[0] == tensor and weight is not None and weight.dims[1] == channels


def _keeps_channels(index: GraphIndex, node: onnx.NodeProto, channels: int) -> bool:
    shape = index.constants.get(node.input[1])
    return shape is not None and numpy_helper.to_array(shape).tolist().count(channels) == 1


def _pad_pair(
    index: GraphIndex, first: onnx.NodeProto, path: list[onnx.NodeProto], channels: int, wide: int, folder: Path
) -> None:
    for name in first.input[1:]:
        _widen(index, name, 0, wide, folder)
    for node in path[:-1]:
        if node.op_type == "Reshape":
            shape = numpy_helper.to_array(index.constants[node.input[1]]).copy()
            shape[shape == channels] = wide
            index.constants[node.input[1]].CopyFrom(numpy_helper.from_array(shape, node.input[1]))
    _widen(index, path[-1].input[1], 1, wide, folder)


def _widen(index: GraphIndex, name: str, axis: int, wide: int, folder: Path) -> None:
    value = tensor_array(index.constants[name], folder)
    amounts = [(0, wide - length if number == axis else 0) for number, length in enumerate(value.shape)]
    index.constants[name].CopyFrom(numpy_helper.from_array(np.pad(value, amounts), name))
