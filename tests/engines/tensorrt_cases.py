"""Files and arrays that the tests of the TensorRT engine share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from dfer_edge import engines
from dfer_edge.calibration import quantize
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.weights import file as weights_files
from dfer_edge.weights.file import Weights
from tests.calibration import made_up
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
    return gate_feed(engine.input_shapes, rows, seed, engine.input_dtypes)


def quantised(path: Path, target: Path) -> Path:
    """Q/DQ as the SDK writes it for every engine, with made-up ranges."""
    return quantize(path, made_up.table(path, "made up"), target)


class OnDevice:
    """An array as torch or CuPy show theirs."""

    def __init__(self, cuda: FakeCuda, shape: tuple[int, ...], typestr: str = "<f4", strides: object = None) -> None:
        dtype = np.dtype(typestr)
        self.address = cuda.cudaMalloc(dtype.itemsize * int(np.prod(shape)))[1]
        self.array = cuda.view(self.address, shape, dtype.type)
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
