"""Networks with a fused kernel inside say what they say without, wherever it is placed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from dfer_edge.engines import base, load_engine  # noqa: E402
from dfer_edge.engines.tensorrt.gate import gate_feed  # noqa: E402
from dfer_edge.errors import CorruptArtifact  # noqa: E402
from dfer_edge.export import onnx_file as export  # noqa: E402
from dfer_edge.inference import SymbolicGraph, kernel_places, slowr50, torch_kernels, vgg  # noqa: E402
from dfer_edge.inference.base import Graph  # noqa: E402
from dfer_edge.inference.random_weights import RandomWeights  # noqa: E402
from dfer_edge.inference.torch_graph import TorchGraph  # noqa: E402
from dfer_edge.kernels import use_backend  # noqa: E402
from dfer_edge.models import list_models  # noqa: E402
from dfer_edge.weights import file as weights  # noqa: E402
from dfer_edge.weights.file import Weights  # noqa: E402


def small(name: str, **options: object) -> Weights:
    source = weights.random(name)
    spec = dataclasses.replace(source.spec, size=32, **({} if name == "keypoint_tsa" else {"frames": 2}))
    return dataclasses.replace(source, spec=spec.with_options(**options))


def difference(source: Weights | None, path: Path, engine: str = "torch") -> tuple[float, tuple[str, ...], int]:
    """Largest difference of a logit with and without, what runs, and how many labels differ."""
    if source is not None:
        export.write(source, path, "2d", external=True)
    with (
        load_engine(path, engine, "fp32", "cpu", 1, "all") as fused,
        load_engine(path, engine, "fp32", "cpu", 1, "none") as plain,
    ):
        assert plain.kernels == ()
        feed = gate_feed(fused.input_shapes, 6, 3)
        a, b = fused.infer(feed)["logits"], plain.infer(feed)["logits"]
        assert fused.info()["kernels"] == list(fused.kernels)
    return float(np.abs(a - b).max()), fused.kernels, int((a.argmax(1) != b.argmax(1)).sum())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "keypoint_tsa" else pytest.mark.slow, id=name)
        for name in kernel_places.PLACES
    ],
)
def test_each_placement_is_equal_to_rounding(name: str, tmp_path: Path) -> None:
    distance, kernels, labels = difference(small(name), tmp_path / "net.onnx")
    assert kernels[:1] == kernel_places.PLACES[name][:1]
    # Other sums in other orders: equal to the last bit would mean that no kernel ran.
    assert 0 < distance <= 1e-4
    assert not labels


ENGINES = pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])


@pytest.fixture(scope="module")
def key_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("placed") / "net.onnx"
    export.write(small("keypoint_tsa"), path, "2d")
    return path


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A score a frame, and no dead channels."""
    path = tmp_path_factory.mktemp("placed") / "net.onnx"
    export.write(weights.resolve("slowr50_sa", "default"), path, "2d", external=True)
    return path


@ENGINES
@pytest.mark.parametrize(("file", "kernel"), [("key_points", "landmark_pool"), ("shipped", "token_attention")])
def test_files_are_cut_at_the_kernel(file: str, kernel: str, engine: str, request: pytest.FixtureRequest) -> None:
    distance, kernels, labels = difference(None, request.getfixturevalue(file), engine)
    assert kernels == (kernel,)
    # Other sums in other orders: equal to the last bit would mean that no kernel ran.
    assert 0 < distance <= 1e-4
    assert not labels


@pytest.mark.slow
@ENGINES
@pytest.mark.parametrize("name", ["agfer", "sefer", "cbamfer", "keypoint_tsa"])
def test_files_are_cut_at_every_gate(name: str, engine: str, tmp_path: Path) -> None:
    options = {"norm_heat": True} if name == "keypoint_tsa" else {}
    export.write(small(name, **options), tmp_path / "net.onnx", "3d")
    distance, kernels, labels = difference(None, tmp_path / "net.onnx", engine)
    assert kernels == kernel_places.PLACES[name][:1]
    assert 0 < distance <= 1e-4
    assert not labels


@ENGINES
def test_no_kernel_runs_unasked_where_it_was_not_faster(engine: str, key_points: Path) -> None:
    with load_engine(key_points, engine, "fp32", "cpu", 1) as of_auto:
        assert of_auto.info()["kernels"] == []


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_a_kernel_runs_unasked_where_it_was_faster(
    engine: str, key_points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ("keypoint_tsa", engine, "cpu", "fp32")
    others = {("agfer", *row[1:]), (row[0], "tensorrt", *row[2:]), (*row[:2], "cuda", "fp32"), (*row[:3], "bf16")}
    for faster, runs in (({row}, True), (others, False)):
        monkeypatch.setattr(base, "FASTER", frozenset(faster))
        with load_engine(key_points, engine, "fp32", "cpu", 1) as of_auto:
            assert ("landmark_pool" in of_auto.kernels) == runs
        with load_engine(key_points, engine, "fp32", "cpu", 1, "none") as plain:
            assert plain.kernels == ()


def test_a_file_that_is_not_its_recording_is_refused(key_points: Path, tmp_path: Path) -> None:
    model = onnx.load(key_points)
    del model.graph.node[40:60]
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(CorruptArtifact, match="values of its recording"):
        load_engine(tmp_path / "net.onnx", "onnxruntime", "fp32", kernels="all")
    (tmp_path / "torn.onnx").write_bytes(key_points.read_bytes()[:5000])
    with pytest.raises(CorruptArtifact, match="loads"):
        load_engine(tmp_path / "torn.onnx", "onnxruntime", "fp32", kernels="all")


def drawn(build: Callable[[Graph[Any]], object]) -> dict[str, torch.Tensor]:
    """Seeded weights of a part of a network, from its recording."""
    graph = SymbolicGraph("2d")
    build(graph)
    return {name: torch.from_numpy(np.array(value)) for name, value in RandomWeights(graph).items()}


@pytest.mark.parametrize("name", ["agfer", "sefer", "cbamfer"])
def test_the_gates_of_the_vgg_family(name: str) -> None:
    arch = vgg.architecture(weights.random(name).spec)
    maps = torch.randn(2, 64, 12, 10, generator=torch.Generator().manual_seed(0))
    maps = maps.contiguous(memory_format=torch.channels_last)

    def site(graph: Graph[Any], x: Any) -> Any:
        return vgg.gate_pool(graph, x, "gates.1", arch)

    found = drawn(lambda graph: site(graph, graph.input("x", maps.shape[1:])))
    check_site(site, maps, found, "attention_gate")


def test_the_head_of_slowr50_sa() -> None:
    spec, features = weights.random("slowr50_sa").spec, torch.randn(3, 2048, generator=torch.Generator().manual_seed(0))

    def site(graph: Graph[Any], x: Any) -> Any:
        return slowr50.head(graph, x, spec)

    check_site(site, features, drawn(lambda graph: site(graph, graph.input("x", (2048,)))), "token_attention")


def check_site(site: Callable[..., Any], x: torch.Tensor, found: dict[str, torch.Tensor], kernel: str) -> None:
    fused = TorchGraph(found, "2d", kernels=frozenset({kernel}))
    with torch.inference_mode():
        plain, ran = site(TorchGraph(found, "2d"), x), site(fused, x)
        with use_backend("reference"):
            defined = site(fused, x)
    for other in (ran, defined):
        torch.testing.assert_close(other, plain, atol=1e-4, rtol=0)
    assert not torch.equal(ran, defined), "the backend makes no difference: no kernel ran"


@pytest.mark.parametrize("options", [{"norm_heat": True}, {"last_strides": (2, 1)}, {"sigma_fraction": 0.3}])
def test_the_key_points_of_every_option(options: dict[str, object], tmp_path: Path) -> None:
    distance, _, _ = difference(small("keypoint_tsa", **options), tmp_path / "net.onnx")
    assert 0 < distance <= 1e-4


def test_a_score_a_frame_goes_through_the_head_too(tmp_path: Path) -> None:
    """The default weights' pooling has a vector for each frame. Frames that attend to frames are no such head."""
    distance, kernels, labels = difference(small("slowr50_sa", pooling="apex"), tmp_path / "net.onnx")
    assert kernels[0] == "token_attention"
    assert 0 < distance <= 1e-4
    assert not labels
    assert not kernel_places.place_of(small("slowr50_sa", attention_tokens="frames").spec, "whole")
    assert not kernel_places.place_of(small("agfer", gate="ag_residual").spec, "whole")


def test_frames_that_are_scored_one_by_one_meet_the_head_in_their_features(tmp_path: Path) -> None:
    source = small("slowr50_sa", pooling="apex", centre_taps=True)
    file = tmp_path / "features.onnx"
    export.write(source, file, "2d", external=True, part="features")
    clip = np.random.default_rng(0).standard_normal((3, *source.spec.input_shape[:1], 1, *source.spec.input_shape[2:]))
    found = []
    for kernels in ("none", "all"):
        with load_engine(file, "torch", "fp32", "cpu", 1, kernels) as engine:
            found.append(engine.infer({"clip": clip.astype(np.float32)})["features"])
            assert ("token_attention" in engine.info()["kernels"]) == (kernels == "all")
    assert 0 < np.abs(found[0] - found[1]).max() <= 1e-4
    assert not kernel_places.place_of(source.spec, "head")


def test_networks_without_a_place_run_none(tmp_path: Path) -> None:
    clip_file = tmp_path / "clip.onnx"
    export.write(small("r2plus1d_sta"), clip_file, "2d", external=True)
    assert set(kernel_places.PLACES) < set(list_models())
    with load_engine(clip_file, "torch", "fp32", "cpu", 1, "all") as engine:
        assert not set(engine.info()["kernels"]) & set(torch_kernels.KERNELS)
