"""The model repository for NVIDIA Triton Inference Server, read with the server's own published protobuf."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dfer_edge import InvalidInput
from dfer_edge.cli.main import main
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.export.triton_repository import ACCELERATORS, config, write_repository
from dfer_edge.inference import registry
from dfer_edge.models import list_models
from dfer_edge.spec import ModelSpec
from dfer_edge.weights import file as weights
from dfer_edge.weights.file import Weights


@pytest.fixture(scope="session")
def published() -> Any:
    """``model_config_pb2`` of tritonclient, without the gRPC client that its package imports."""
    found = importlib.util.find_spec("tritonclient")
    if found is None:
        pytest.skip("tritonclient is not installed")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(published: Any, text: str) -> Any:
    from google.protobuf import text_format

    return text_format.Parse(text, published.ModelConfig())


def small() -> Weights:
    source = weights.random("r2plus1d_sta")
    return dataclasses.replace(source, spec=dataclasses.replace(source.spec, size=32, frames=8))


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("name", list_models())
def test_every_network_has_a_valid_configuration(published: Any, name: str, accelerator: str) -> None:
    source = weights.random(name)
    parsed = parse(published, config(source, accelerator, "fp32", 8, 2))
    spec = source.spec
    assert (parsed.name, parsed.backend) == (name, "onnxruntime")
    assert parsed.max_batch_size == (8 * spec.frames if spec.input == "image" else 8)
    ports = {port.name: (port.data_type, list(port.dims)) for port in parsed.input}
    expected = {spec.input: (published.TYPE_FP32, list(spec.input_shape))}
    if spec.landmarks:
        expected["landmarks"] = (published.TYPE_FP32, [spec.frames, 68, 2])
    assert ports == expected
    (output,) = parsed.output
    assert (output.name, list(output.dims), output.label_filename) == ("logits", [spec.num_classes], "labels.txt")
    assert parsed.HasField("dynamic_batching")
    (group,) = parsed.instance_group
    on_gpu = accelerator == "tensorrt"
    assert (group.count, group.kind) == (2, group.KIND_GPU if on_gpu else group.KIND_CPU)
    chosen = parsed.optimization.execution_accelerators
    assert [a.name for a in chosen.cpu_execution_accelerator] == (["openvino"] if accelerator == "openvino" else [])
    assert [a.name for a in chosen.gpu_execution_accelerator] == (["tensorrt"] if on_gpu else [])
    assert parsed.version_policy.latest.num_versions == 1
    (warm_up,) = parsed.model_warmup
    assert set(warm_up.inputs) == set(expected)
    assert 1 <= warm_up.batch_size <= parsed.max_batch_size
    # What a client needs to preprocess travels with the model.
    assert ModelSpec.from_json(parsed.parameters["dfer_edge.spec"].string_value) == spec


def test_tensorrt_options_are_those_that_the_backend_documents(published: Any) -> None:
    source = weights.random("keypoint_tsa")
    parsed = parse(published, config(source, "tensorrt", "fp16", 4, 1))
    (accelerator,) = parsed.optimization.execution_accelerators.gpu_execution_accelerator
    options = dict(accelerator.parameters)
    assert options["precision_mode"] == "FP16"
    assert options["trt_profile_min_shapes"] == "clip:1x3x16x112x112,landmarks:1x16x68x2"
    assert options["trt_profile_max_shapes"] == "clip:4x3x16x112x112,landmarks:4x16x68x2"
    documented = {
        "precision_mode",
        "trt_engine_cache_enable",
        "trt_timing_cache_enable",
        "trt_layer_norm_fp32_fallback",
    }
    assert set(options) == documented | {f"trt_profile_{which}_shapes" for which in ("min", "opt", "max")}


def test_the_written_model_is_what_the_configuration_says(published: Any, tmp_path: Path) -> None:
    source = small()
    version = write_repository(source, tmp_path / "repository", "none", max_batch=3)
    model = tmp_path / "repository" / "r2plus1d_sta"
    assert version == model / "1"
    assert sorted(path.name for path in model.iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    assert tuple((model / "labels.txt").read_text().splitlines()) == source.spec.labels
    parsed = parse(published, (model / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    for port, info in zip(parsed.input, session.get_inputs(), strict=True):
        assert (port.name, list(port.dims)) == (info.name, info.shape[1:])
    assert [port.name for port in parsed.output] == [info.name for info in session.get_outputs()]
    shapes = {port.name: tuple(port.dims) for port in parsed.input}
    (logits,) = session.run(None, gate_feed(shapes, parsed.max_batch_size))
    assert logits.shape == (3, *parsed.output[0].dims)
    assert np.isfinite(logits).all()


def test_versions_are_added_and_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        assert write_repository(small(), tmp_path).name == str(number)
    (tmp_path / "r2plus1d_sta" / "7").mkdir()
    assert write_repository(small(), tmp_path).name == "8"

    def interrupted(source: Weights, path: Path, *rest: object) -> None:
        path.write_text("half a network")
        raise KeyboardInterrupt

    monkeypatch.setattr("dfer_edge.export.onnx_file.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_repository(small(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "r2plus1d_sta").iterdir() if path.is_dir()) == ["1", "2", "7", "8"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator": "cuda"}, "expected an accelerator"),
        ({"precision": "fp16"}, "expected fp32 with accelerator none"),
        ({"accelerator": "tensorrt", "precision": "int8"}, "fp32 or fp16"),
        ({"max_batch": 0}, "max_batch of at least 1"),
        ({"instances": True}, "instances of at least 1"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_repository(small(), tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_labels_of_any_alphabet_and_quotes_survive(published: Any) -> None:
    spec = registry.find("slowr50").spec.with_labels(tuple('"' if i == 0 else f"émotion\\{i}" for i in range(7)))
    parsed = parse(published, config(Weights('mein "Netz" é', "0", spec, None), "none", "fp32", 8, 1))
    assert ModelSpec.from_json(parsed.parameters["dfer_edge.spec"].string_value) == spec
    assert parsed.parameters["dfer_edge.weights"].string_value == 'mein "Netz" é'


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--triton-repository", str(tmp_path / "fleet"), "--weights", "random"]
    assert main(["export", "r2plus1d_sta", *where, "--json"]) == 0
    version = Path(json.loads(capsys.readouterr().out)["path"])
    assert (version / "model.onnx").is_file()
    file = [str(tmp_path / "x.onnx"), "--weights", "random"]
    for wrong in (
        [],
        [*where, file[0]],
        [*where, "--batch", "2"],
        [*where, "--part", "head"],
        [*where, "--form", "3d"],
        [*where, "--ranges", "r.json"],
        [*file, "--ranges", "r.json"],
        [*file, "--precision", "fp16"],
        [*file, "--accelerator", "none"],
        [*file, "--max-batch", "8"],
        [*file, "--instances", "0"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["export", "slowr50", *wrong])
        option = wrong[-2] if wrong else ""
        assert not option.startswith("--") or f"{option} " in capsys.readouterr().err
    assert main(["export", "r2plus1d_sta", *where, "--max-batch", "0"]) == 1
