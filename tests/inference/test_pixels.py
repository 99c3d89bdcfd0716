"""Files that read uint8 crops say what files of floats say of the normalised crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge import CorruptArtifact, InvalidInput
from dfer_edge.engines import load_engine, mixed_precision
from dfer_edge.export import onnx_file as export
from dfer_edge.inference import pixels
from dfer_edge.kernels.clip_to_tensor import normalise
from tests.engines.tensorrt_cases import quantised, small

CHANCE = np.random.default_rng(4)


def both(name: str, folder: Path, part: str = "whole") -> tuple[Path, Path]:
    paths = folder / "floats.onnx", folder / "pixels.onnx"
    for path in paths:
        export.write(small(name), path, "2d", external=path.stem == "pixels", part=part)
    pixels.take_pixels(paths[1])
    return paths


@pytest.mark.parametrize(("backend", "exact"), [("onnxruntime", True), ("torch", True), ("openvino", False)])
@pytest.mark.parametrize("name", ["r2plus1d_sta", "vgg16_fer"])
def test_every_engine_normalises_as_the_cpu_does(name: str, backend: str, exact: bool, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    floats, crops = both(name, tmp_path)
    one = {"precision": "fp32", "threads": 1}
    with load_engine(floats, backend, **one) as expected, load_engine(crops, backend, **one) as engine:
        assert (engine.takes_pixels, expected.takes_pixels) == (True, False)
        (key,) = engine.input_shapes
        assert engine.input_dtypes == {key: np.uint8}
        frames = CHANCE.integers(0, 256, (3, *engine.input_shapes[key]), np.uint8)
        if key == "clip":
            normalised = np.stack([normalise(clip, engine.spec) for clip in frames])
        else:
            normalised = normalise(frames, engine.spec).transpose(1, 0, 2, 3)
        a, b = expected.infer({key: normalised})["logits"], engine.infer({key: frames})["logits"]
        assert np.ptp(a) > 0.1
        np.testing.assert_allclose(a, b, atol=1e-6 if exact else 1e-4)
        with pytest.raises(InvalidInput, match="uint8"):
            engine.infer({key: normalised})


def test_landmarks_stay_floats_and_a_head_stays_as_it_is(tmp_path: Path) -> None:
    _, crops = both("keypoint_tsa", tmp_path)
    with load_engine(crops, "onnxruntime", "fp32", threads=1) as engine:
        assert engine.input_shapes == {"clip": (8, 32, 32, 3), "landmarks": (8, 68, 2)}
        assert [str(dtype) for dtype in engine.input_dtypes.values()] == ["uint8", "float32"]
    floats, head = both("keypoint_tsa", tmp_path, "head")
    assert onnx.load(head, load_external_data=False).graph.node == onnx.load(floats).graph.node
    before = crops.read_bytes()
    pixels.take_pixels(crops)
    assert crops.read_bytes() == before, "twice is once"


def test_half_precision_normalises_in_fp32(tmp_path: Path) -> None:
    floats, crops = both("r2plus1d_sta", tmp_path)
    halves = {}
    for path in (floats, crops):
        mixed_precision.write_half(path, tmp_path / f"half-{path.name}")
        halves[path] = onnx.load(tmp_path / f"half-{path.name}")
    import onnxruntime

    frames = CHANCE.integers(0, 256, (1, 8, 32, 32, 3), np.uint8)
    (a,) = _run(onnxruntime, halves[floats], np.stack([normalise(frames[0], small("r2plus1d_sta").spec)]))
    (b,) = _run(onnxruntime, halves[crops], frames)
    # Not a rounding apart: crops are rounded to fp16 once, after the normalisation.
    np.testing.assert_array_equal(a, b)


def _run(onnxruntime, model: onnx.ModelProto, clip: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"clip": clip})


def test_a_quantised_file_quantises_what_was_normalised(tmp_path: Path) -> None:
    floats, _ = both("r2plus1d_sta", tmp_path)
    exact = quantised(floats, tmp_path / "int8.onnx")
    crops = tmp_path / "int8-pixels.onnx"
    crops.write_bytes(exact.read_bytes())
    pixels.take_pixels(crops)
    frames = CHANCE.integers(0, 256, (2, 8, 32, 32, 3), np.uint8)
    with load_engine(exact, "onnxruntime", threads=1) as a, load_engine(crops, "onnxruntime", threads=1) as b:
        assert b.options.precision == "int8"
        normalised = np.stack([normalise(clip, a.spec) for clip in frames])
        np.testing.assert_array_equal(a.infer({"clip": normalised})["logits"], b.infer({"clip": frames})["logits"])


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    onnx.save(onnx.ModelProto(), path)
    with pytest.raises(CorruptArtifact, match="metadata"):
        pixels.take_pixels(path)
