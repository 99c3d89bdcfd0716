"""ONNX Runtime's GPU providers, in whose place the CPU's computes here: what is asked of them, and no silent CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from dfer_edge import CorruptArtifact, EngineUnavailable, InvalidInput, PrecisionUnavailable
from dfer_edge.engines import choose, load_engine, reasons
from dfer_edge.engines.onnxruntime_cuda_engine import CUDA, TENSORRT
from dfer_edge.inference import pixels
from tests.engines.tensorrt_cases import feed_of, quantised, small

ENGINES = ("onnxruntime-cuda", "onnxruntime-tensorrt")
CPU = "CPUExecutionProvider"


class Gpu:
    """A build of ONNX Runtime with GPU providers; of what it was asked, and computes on the CPU."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Path, dict[str, dict[str, str]]]] = []
        self.runs, self.types, self.broken, self.no_graphs = [TENSORRT, CUDA, CPU], [], "", ""
        self.graphs: dict[str, list[int]] = {}
        self.replays: list[str] = []
        self._make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        patch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", self.on_device)
        self._real = onnxruntime.InferenceSession
        patch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        patch.setattr(onnxruntime, "InferenceSession", self.session)

    def session(self, path: str, options: Any, providers: list[Any], provider_options: Any = (), **rest: Any) -> Any:
        real = self._real(path, options, providers=[CPU], **rest)
        if providers == [CPU]:
            return real
        if self.broken:
            raise RuntimeError(self.broken)
        graphs = providers[0] == CUDA and provider_options[0].get("enable_cuda_graph") == "1"
        if graphs and self.no_graphs:
            raise RuntimeError(self.no_graphs)
        self.asked.append((Path(path), dict(zip(providers, provider_options, strict=True))))
        self.types.append({t.data_type for t in onnx.load(path, load_external_data=False).graph.initializer})
        gpu = self

        class Session:
            def run(self, names: None, feed: dict[str, np.ndarray], options: Any = None) -> list[np.ndarray]:
                # Arrays of the host are other addresses in each call, which a graph would not see.
                assert not graphs or options.get_run_config_entry("gpu_graph_id") == "-1"
                return real.run(names, feed)

            def io_binding(self) -> Any:
                return onnxruntime.IOBinding(real)

            def get_outputs(self) -> Any:
                return real.get_outputs()

            def run_with_iobinding(self, binding: Any, options: Any) -> None:
                number = options.get_run_config_entry("gpu_graph_id")
                bound = [*binding._bound_inputs.values(), *binding._bound_outputs.values()]
                addresses = [value.data_ptr() for value in bound]
                assert graphs
                # A replay reads and writes where the capture did, wherever the caller means it to.
                assert gpu.graphs.setdefault(number, addresses) == addresses
                gpu.replays.append(number)
                real.run_with_iobinding(binding, options)

            def get_providers(self) -> list[str]:
                return [name for name in gpu.runs if name in providers]

        return Session()

    def on_device(self, shape: list[int], dtype: Any, device: str, number: int) -> Any:
        assert (device, number) == ("cuda", 0)
        return self._make(shape, dtype, "cpu", 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_is_asked_of_the_providers(name: str, precision: str, gpu: Gpu, clip_file: Path) -> None:
    with (
        load_engine(clip_file, "onnxruntime", "fp32", threads=1) as exact,
        load_engine(clip_file, name, precision, threads=1) as engine,
    ):
        feed = feed_of(engine, 2)
        tolerance = 1e-6 if precision == "fp32" else 0.05
        np.testing.assert_allclose(exact.infer(feed)["logits"], engine.infer(feed)["logits"], atol=tolerance)
        assert engine.info()["providers"][0] == (TENSORRT if "tensorrt" in name else CUDA)
        assert engine.options.device == "cuda"
    ((path, asked),) = gpu.asked
    assert list(asked)[-2:] == [CUDA, CPU]
    assert asked[CUDA]["use_tf32"] == "0", "fp32 means fp32"
    # Typed by the file: fp16 weights, and the fp32 islands with them.
    assert (onnx.TensorProto.FLOAT16 in gpu.types[0]) is (precision == "fp16")
    assert path.exists() is (precision == "fp32"), "a converted file was left behind"
    if "tensorrt" in name:
        assert asked[TENSORRT]["trt_fp16_enable"] == str(int(precision == "fp16"))
        assert asked[TENSORRT]["trt_engine_cache_enable"] == "0", "engines that nobody verified"
        assert asked[TENSORRT]["trt_profile_min_shapes"] == "clip:1x3x8x32x32"
        assert asked[TENSORRT]["trt_profile_max_shapes"] == "clip:8x3x8x32x32"


def test_calls_are_graphs_of_a_power_of_two_of_rows(gpu: Gpu, clip_file: Path) -> None:
    with (
        load_engine(clip_file, "onnxruntime", "fp32", threads=1) as exact,
        load_engine(clip_file, "onnxruntime-cuda", "fp32", threads=1) as engine,
    ):
        assert engine.info()["cuda_graphs"] == "yes"
        kept = []
        for rows, seed in ((3, 1), (1, 2), (4, 3), (3, 4), (1, 5), (9, 6)):
            feed = feed_of(engine, rows, seed)
            kept.append((exact.infer(feed)["logits"], engine.infer(feed)["logits"]))
    # Four rows are read after three: what was padded, or of the call before, is nobody's answer; 9 are too many.
    for expected, found in kept:
        np.testing.assert_allclose(expected, found, atol=1e-6)
    assert gpu.replays == ["4", "1", "4", "4", "1"]
    assert gpu.asked[0][1][CUDA]["enable_cuda_graph"] == "1"


def test_where_nodes_are_left_to_others_calls_are_no_graphs(gpu: Gpu, clip_file: Path) -> None:
    gpu.no_graphs = (
        "This session cannot use the graph capture feature as requested by the user as all compute graph nodes have "
        "not been partitioned to the CUDAExecutionProvider"
    )
    with load_engine(clip_file, "onnxruntime-cuda", "fp32", threads=1) as engine:
        assert engine.infer(feed_of(engine, 2))["logits"].shape == (2, 7)
        assert "no: CUDAExecutionProvider does not run here: This session cannot" in engine.info()["cuda_graphs"]
    with load_engine(clip_file, "onnxruntime-tensorrt", "fp32", threads=1) as engine:
        assert engine.info()["cuda_graphs"].startswith("no: not with TensorRT's provider")
    assert not gpu.replays


def test_crops_go_up_as_bytes(gpu: Gpu, tmp_path: Path) -> None:
    from dfer_edge.export import onnx_file

    path = tmp_path / "crops.onnx"
    onnx_file.write(small("vgg16_fer"), path, "2d")
    pixels.take_pixels(path)
    with load_engine(path, "onnxruntime-tensorrt", "fp32", threads=1) as engine:
        assert engine.infer(feed_of(engine, 3))["logits"].shape == (3, 7)
        assert not engine.keeps_on_device
    assert gpu.asked[0][1][TENSORRT]["trt_profile_max_shapes"] == "image:24x32x32x3"


def test_nothing_falls_back_to_the_cpu(gpu: Gpu, clip_file: Path) -> None:
    gpu.runs = [CPU]
    with pytest.raises(EngineUnavailable, match="ONNX Runtime took CPUExecutionProvider instead"):
        load_engine(clip_file, "onnxruntime-cuda", "fp32")
    gpu.runs = [CUDA, CPU]
    with pytest.raises(EngineUnavailable, match="took CUDAExecutionProvider instead"):
        load_engine(clip_file, "onnxruntime-tensorrt", "fp32")
    gpu.broken = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
    with pytest.raises(EngineUnavailable, match="driver version is insufficient"):
        load_engine(clip_file, "onnxruntime-cuda", "fp32")
    gpu.broken = "Protobuf parsing failed"
    with pytest.raises(CorruptArtifact, match="Protobuf"):
        load_engine(clip_file, "onnxruntime-cuda", "fp32")


def test_a_build_without_them_says_what_to_install(clip_file: Path) -> None:
    assert CUDA not in onnxruntime.get_available_providers()
    for name, provider in zip(ENGINES, (CUDA, TENSORRT), strict=True):
        assert f"has no {provider}" in reasons(name)
        assert "onnxruntime-gpu" in reasons(name)
        with pytest.raises(EngineUnavailable, match=provider):
            load_engine(clip_file, name, "fp32")


def test_int8_is_not_simulated_on_a_gpu(gpu: Gpu, clip_file: Path, tmp_path: Path) -> None:
    with pytest.raises(PrecisionUnavailable, match="tensorrt has int8"):
        choose("onnxruntime-cuda", "int8", "cuda")
    with pytest.raises(InvalidInput, match="quantised"):
        load_engine(quantised(clip_file, tmp_path / "int8.onnx"), "onnxruntime-cuda", "fp32")
    assert choose("onnxruntime-cuda", "auto", "cuda").precision == "fp16"
