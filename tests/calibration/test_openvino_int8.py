"""int8 that is int8: read from what OpenVINO compiled, not from what was asked for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.calibration import quantize
from dfer_edge.calibration.graph import read
from dfer_edge.calibration.qdq import Scheme
from dfer_edge.engines import load_engine, precision_reasons, reasons
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.export import onnx_file as export
from dfer_edge.export.onnx_file import export_onnx
from dfer_edge.inference.parts import input_shapes
from dfer_edge.spec import ModelSpec
from dfer_edge.weights import file as weights
from tests.calibration import made_up

INTEGER = {"u8", "i8"}


@pytest.fixture(autouse=True)
def _able() -> None:
    if reason := reasons("openvino") or precision_reasons("openvino")["int8"]:
        pytest.skip(reason)


def quantised(name: str, folder: Path) -> Path:
    path = export_onnx(name, folder / f"{name}.onnx", "random")
    return quantize(path, made_up.table(path, name), folder / f"{name}-int8.onnx", "unsigned")


@pytest.mark.parametrize("name", ["slowr50_sa", "r2plus1d_sta", "keypoint_tsa"])
def test_every_quantised_convolution_runs_in_int8(name: str, tmp_path: Path) -> None:
    path = quantised(name, tmp_path)
    with load_engine(path, "openvino", threads=1) as engine:
        layers = engine.layers()
        planned = json.loads(engine.metadata["dfer_edge.layers"])
    convolutions = [layer for layer in layers if layer.kind == "Convolution"]
    int8 = [layer for layer in convolutions if layer.precision in INTEGER]
    # Placement counts by weight: each convolution has its own.
    wanted = {weight for weight, kind in planned.items() if kind == "int8"}
    dims = {tensor.name: len(tensor.dims) for tensor in read(path.with_name(f"{name}.onnx")).graph.initializer}
    assert len(int8) == len([weight for weight in wanted if dims[weight] > 2])
    # Between two int8 convolutions nothing goes back to float: no conversion, no sum, no pooling of its own.
    last = max(number for number, layer in enumerate(layers) if layer in int8)
    first = min(number for number, layer in enumerate(layers) if layer in int8)
    for layer in layers[first + 1 : last]:
        if layer.kind in ("Convolution", "Pooling", "Eltwise", "Reorder", "FakeQuantize"):
            assert layer.precision in INTEGER, layer
        assert layer.kind not in ("FakeQuantize", "Eltwise"), layer


def test_the_file_is_small(tmp_path: Path) -> None:
    assert quantised("slowr50_sa", tmp_path).stat().st_size <= 34e6


SMALL = {
    "slowr50_sa": {"size": 64},
    "r2plus1d_sta": {"size": 64, "frames": 8},
    "keypoint_tsa": {"size": 112, "frames": 2},
}


@pytest.mark.parametrize(("name", "scheme"), [*((name, "unsigned") for name in SMALL), ("keypoint_tsa", "symmetric")])
def test_it_computes_what_the_file_says(name: str, scheme: Scheme, tmp_path: Path) -> None:
    """Against the simulation in ONNX Runtime, on smooth pictures: in noise, errors in one direction cancel out.

    What remains is rounding that falls on the other side; where bytes went astray it was 0.13.
    """
    source = weights.random(name)
    source = dataclasses.replace(source, spec=dataclasses.replace(source.spec, **SMALL[name]))
    path = tmp_path / "fp32.onnx"
    export.write(source, path, "3d")
    int8 = quantize(path, made_up.table(path, name), tmp_path / "int8.onnx", scheme)
    logits = []
    for engine in ("openvino", "onnxruntime"):
        with load_engine(int8, engine, "int8", threads=1) as loaded:
            logits.append(np.concatenate([loaded.infer(smooth(source.spec, seed))["logits"] for seed in range(3)]))
    assert np.linalg.norm(logits[0] - logits[1]) < 0.08 * np.linalg.norm(logits[1])


def smooth(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Brightness that rises from left to right, a little noise, and landmarks."""
    feed = gate_feed(input_shapes(spec), 1, seed)
    level = 2 * np.random.default_rng(seed).standard_normal((1, 3, 1, 1, 1), np.float32)
    slope = np.linspace(-1, 1, spec.size, dtype=np.float32)
    feed["clip"] = np.clip(level + slope + 0.3 * feed["clip"], -2.1, 2.6)
    return feed
