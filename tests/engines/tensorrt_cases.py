"""Files and arrays that the tests of the TensorRT engine share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dfer_edge import engines
from dfer_edge import weights as weights_files
from dfer_edge.engines.tensorrt_gate import gate_feed
from dfer_edge.weights import Weights
from tests.engines.fake_cuda import FakeCuda
from tests.engines.strict_double import World


def small(name: str, **options: int) -> Weights:
    """A network at a fraction of its size: what is tested here does not depend on it."""
    source = weights_files.random(name)
    sizes = {"slowr50_sa": {"size": 32}, "smate": {"size": 32, "frames": 4}, "vgg16_fer": {"size": 32, "frames": 3}}
    spec = dataclasses.replace(source.spec, **sizes.get(name, {"size": 32, "frames": 8}))
    if name == "smate":
        spec = spec.with_options(spatial_depth=1, temporal_depth=1)
    return dataclasses.replace(source, spec=spec.with_options(**options))


def feed_of(engine: engines.Engine, rows: int, seed: int = 3) -> dict[str, np.ndarray]:
    return gate_feed(engine.input_shapes, rows, seed)


def quantised(path: Path, target: Path) -> Path:
    """Symmetric Q/DQ around the inputs and weights of every convolution, with made-up ranges."""
    model = onnx.load(path)
    entry = model.metadata_props.add()
    entry.key, entry.value = "dfer_edge.precision", "int8"  # as calibration.quantize marks its files
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, zero = [], numpy_helper.from_array(np.int8(0), "zero")
    extra = [zero, numpy_helper.from_array(np.float32(8 / 127), "range")]
    for node in model.graph.node:
        if node.op_type == "Conv":
            x, w = node.input[0], node.input[1]
            array = numpy_helper.to_array(weights[w])
            scale = np.maximum(np.abs(array).reshape(len(array), -1).max(1) / 127, 1e-9).astype(np.float32)
            shaped = scale.reshape(-1, *(1,) * (array.ndim - 1))
            integers = np.clip(np.round(array / shaped), -127, 127).astype(np.int8)
            extra += [numpy_helper.from_array(integers, f"{w}_q"), numpy_helper.from_array(scale, f"{w}_s")]
            extra.append(numpy_helper.from_array(np.zeros(len(array), np.int8), f"{w}_z"))
            nodes += [
                helper.make_node("QuantizeLinear", [x, "range", "zero"], [f"{node.name}_q"], f"{node.name}_q"),
                helper.make_node(
                    "DequantizeLinear", [f"{node.name}_q", "range", "zero"], [f"{node.name}_d"], f"{node.name}_d"
                ),
                helper.make_node("DequantizeLinear", [f"{w}_q", f"{w}_s", f"{w}_z"], [f"{w}_d"], f"{w}_d", axis=0),
            ]
            node.input[0], node.input[1] = f"{node.name}_d", f"{w}_d"
        nodes.append(node)
    convs = {name for node in nodes if node.op_type == "DequantizeLinear" for name in [node.output[0][:-2]]}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in convs]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(copies)
    model.graph.initializer.extend(kept + extra)
    onnx.save(model, target)
    return target


class OnDevice:
    """An array as torch or CuPy show theirs."""

    def __init__(self, cuda: FakeCuda, shape: tuple[int, ...], typestr: str = "<f4", strides: object = None) -> None:
        self.address = cuda.cudaMalloc(4 * int(np.prod(shape)))[1]
        self.array = cuda.view(self.address, shape)
        described = {
            "shape": shape,
            "typestr": typestr,
            "strides": strides,
            "data": (self.address, False),
            "version": 3,
        }
        self.__cuda_array_interface__ = described


def builds(world: World) -> int:
    """How many engines were built."""
    return len(world.recorded("build_serialized_network"))
