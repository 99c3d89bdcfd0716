"""One contract for all engines, and their parity on the same bytes."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge import (
    CorruptArtifact,
    DferError,
    EngineUnavailable,
    InvalidInput,
    PrecisionUnavailable,
    Recognizer,
    WeightsNotFound,
)
from dfer_edge.engines import BEST_FORM, Engine, choose, load_engine, precision_reasons, reasons
from dfer_edge.engines.parity import parity
from dfer_edge.export import onnx_file as export
from dfer_edge.inference import Form
from dfer_edge.weights import file as weights

# A small crop: the contract does not depend on it.
SIZE, FRAMES = 64, 3
SHAPE = (3, FRAMES, SIZE, SIZE)


def write(path: Path, form: Form) -> Path:
    """The network with random weights at :data:`SIZE`."""
    source = weights.random("slowr50_sa")
    small = dataclasses.replace(source, spec=dataclasses.replace(source.spec, frames=FRAMES, size=SIZE))
    export.write(small, path, form)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    forms = sorted({BEST_FORM[name] for name in BEST_FORM if not reasons(name)} | {"2d"})
    return {form: write(folder / f"{form}.onnx", form) for form in forms}


def opened(files: dict[str, Path], name: str) -> Engine:
    if reason := reasons(name):
        pytest.skip(reason)
    return load_engine(files[BEST_FORM[name]], name, "fp32", threads=1)


@pytest.fixture(scope="module", params=BEST_FORM)
def engine(request: pytest.FixtureRequest, files: dict[str, Path]) -> Iterator[Engine]:
    with opened(files, request.param) as loaded:
        yield loaded


def clips(batch: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, *SHAPE), np.float32)


def test_batches_are_dynamic_and_rows_independent(engine) -> None:
    three = clips(3)
    together = engine.infer({"clip": three})["logits"]
    assert together.shape == (3, 7)
    assert together.dtype == np.float32
    alone = np.concatenate([engine.infer({"clip": clip[None]})["logits"] for clip in three])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_results_belong_to_the_caller(engine) -> None:
    first = engine.infer({"clip": clips(1, 1)})["logits"]
    kept = first.copy()
    engine.infer({"clip": clips(1, 2)})
    np.testing.assert_array_equal(first, kept)


def test_input_is_left_alone_and_may_be_strided(engine) -> None:
    clip = clips(1)
    strided = np.asfortranarray(clip)
    expected = engine.infer({"clip": clip})["logits"]
    np.testing.assert_array_equal(engine.infer({"clip": strided})["logits"], expected)
    np.testing.assert_array_equal(strided, clip)


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({}, "expected inputs"),
        ({"image": np.zeros((1, *SHAPE), np.float32)}, "expected inputs"),
        ({"clip": np.zeros((1, *SHAPE), np.float64)}, "got float64"),
        ({"clip": np.zeros((1, 3, FRAMES, SIZE, SIZE - 1), np.float32)}, f"{SIZE}, {SIZE - 1}"),
        ({"clip": np.zeros((0, *SHAPE), np.float32)}, "at least 1"),
        ({"clip": np.float32(1)}, "at least 1"),
    ],
)
def test_bad_feeds(engine, feed: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        engine.infer(feed)


@pytest.fixture(params=BEST_FORM)
def to_close(request: pytest.FixtureRequest, files: dict[str, Path]) -> Engine:
    return opened(files, request.param)


def test_closed_engine(to_close) -> None:
    to_close.close()
    to_close.close()
    with pytest.raises(InvalidInput, match="closed"):
        to_close.infer({"clip": clips(1)})


def test_info_and_spec_come_from_the_file(engine) -> None:
    assert engine.spec.name == "slowr50_sa"
    assert engine.spec.labels[0] == "happy"
    info = engine.info()
    # Where this processor has it.
    assert set(info.pop("kernels")) <= ({"winograd"} if engine.name == "torch" else set())
    assert info == {"engine": engine.name, "precision": "fp32", "device": "cpu", "threads": 1}


@pytest.mark.parametrize("name", BEST_FORM)
def test_broken_files(name: str, tmp_path: Path, files: dict[str, Path]) -> None:
    if reason := reasons(name):
        pytest.skip(reason)
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00garbage" * 100)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(files["2d"].read_bytes()[:50_000])
    foreign = tmp_path / "foreign.onnx"
    node = onnx.helper.make_node("Relu", ["clip"], ["logits"])
    ports = [onnx.helper.make_tensor_value_info(n, 1, ["batch", 3]) for n in ("clip", "logits")]
    graph = onnx.helper.make_graph([node], "foreign", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), foreign)
    for path in (garbage, cut, foreign):
        with pytest.raises(CorruptArtifact, match=path.name):
            load_engine(path, name, "fp32")


def test_fp32_engines_agree(files: dict[str, Path]) -> None:
    present = [name for name in BEST_FORM if not reasons(name)]
    loaded = [load_engine(files[BEST_FORM[name]], name, "fp32", threads=1) for name in present]
    feeds = [{"clip": clips(1, seed)} for seed in range(3)]
    for other in loaded[1:]:
        report = parity(loaded[0], other, feeds)
        assert report.samples == 3
        assert report.max_abs <= 1e-4
        assert report.cosine > 0.999999
        assert report.top1_agreement == 1


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_bf16_keeps_the_label(name: str, files: dict[str, Path]) -> None:
    if reason := reasons(name) or precision_reasons(name)["bf16"]:
        pytest.skip(reason)
    path = files[BEST_FORM[name]]
    full, half = (load_engine(path, name, precision, threads=1) for precision in ("fp32", "bf16"))
    report = parity(full, half, [{"clip": clips(1, seed)} for seed in range(3)])
    assert report.max_abs_logits > 0, "bf16 that equals fp32 to the bit is fp32"
    assert report.top1_agreement == 1


def test_parity_can_fail(files: dict[str, Path], tmp_path: Path) -> None:
    """Another network's weights are not in parity, and the report says so."""
    model = onnx.load(files["2d"])
    for tensor in model.graph.initializer:
        if tensor.name == "classifier.bias":
            shifted = onnx.numpy_helper.to_array(tensor) + np.eye(7, dtype=np.float32)[3] * 50
            tensor.CopyFrom(onnx.numpy_helper.from_array(shifted, tensor.name))
    onnx.save(model, tmp_path / "shifted.onnx")
    with load_engine(files["2d"], "onnxruntime") as a, load_engine(tmp_path / "shifted.onnx", "onnxruntime") as b:
        report = parity(a, b, [{"clip": clips(1)}])
    assert report.top1_agreement == 0
    assert report.max_abs > 0.5


def test_parity_needs_a_feed(files: dict[str, Path]) -> None:
    with load_engine(files["2d"], "onnxruntime") as a, pytest.raises(InvalidInput, match="at least one feed"):
        parity(a, a, [])


def test_requests_that_cannot_be_met(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="tflite"):
        choose("tflite")
    with pytest.raises(InvalidInput, match="int4"):
        choose(precision="int4")
    with pytest.raises(EngineUnavailable, match="tensorrt"):
        choose("tensorrt")
    with pytest.raises(PrecisionUnavailable, match=r"onnxruntime.*bf16"):
        choose("onnxruntime", "bf16")
    with pytest.raises(EngineUnavailable, match=r"device cuda: only torch, tensorrt, tensorrt-rtx, onnxruntime-cuda, "):
        choose("onnxruntime", device="cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"openvino: openvino is not installed.*onnxruntime"):
        choose()


@pytest.mark.parametrize(
    ("device", "there", "said"), [("auto", True, True), ("auto", False, False), ("cpu", True, False)]
)
def test_auto_names_the_gpu_that_it_leaves_unused(
    device: str,
    there: bool,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        "dfer_edge.system.board._GPUS", (tmp_path / "absent", tmp_path if there else tmp_path / "absent too")
    )
    with caplog.at_level("INFO", "dfer_edge"):
        choose(device=device)
    assert ("the GPU is left unused" in caplog.text) == said


def test_auto_takes_what_is_installed_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "openvino" else real(n))
    with caplog.at_level("INFO", "dfer_edge"):
        assert choose().engine == "onnxruntime"
    assert "onnxruntime" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "dfer_edge"):
        Recognizer("slowr50_sa", weights="random", detector="haar")
    assert [record.message.split(",")[0] for record in caplog.records] == ["engine onnxruntime"], "auto says so once"
    assert choose().precision == "fp32"


def test_load_engine_checks_its_arguments(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match="nothing at"):
        load_engine(tmp_path / "none.onnx")
    with pytest.raises(InvalidInput, match="threads"):
        load_engine(files["2d"], "onnxruntime", threads=0)
    assert issubclass(EngineUnavailable, DferError)
