"""Dead channels left out: the same logits from fewer products, and nothing but zeros goes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.engines import load_engine
from dfer_edge.errors import CorruptArtifact
from dfer_edge.export import onnx_file
from dfer_edge.inference import dead_channels
from dfer_edge.inference.base import Form
from dfer_edge.inference.symbolic import SymbolicGraph, Value
from dfer_edge.weights.file import Weights, resolve

Arrays = dict[str, np.ndarray]


def network(rng: np.random.Generator, form: Form = "3d") -> tuple[SymbolicGraph, Value, Arrays]:
    """A stem, two residual blocks and a stack after them, 8 channels wide, on [B, 3, 9, 9]; features as they are."""
    graph = SymbolicGraph(form)

    def conv(x: Value, name: str, out: int, kernel: int, stride: int = 1) -> Value:
        shape = (out, x.shape[1], kernel, kernel)
        weight, bias = graph.weight(f"{name}.weight", shape), graph.weight(f"{name}.bias", (out,))
        return graph.conv(x, weight, bias, (stride,) * 2, (kernel // 2,) * 2)

    x = graph.relu(conv(graph.input("image", (3, 9, 9)), "stem", 8, 3))
    for block in "ab":
        inner = graph.relu(conv(x, f"{block}.in", 6, 3))
        x = graph.relu(graph.add(x, conv(inner, f"{block}.out", 8, 1)))
    x = graph.max_pool(x, (3, 3), (2, 2), (1, 1))
    x = conv(graph.transpose(graph.transpose(x, (0, 2, 3, 1)), (0, 3, 1, 2)), "last", 4, 3)
    arrays = {name: rng.standard_normal(info.shape) for name, info in graph.weights.items()}
    return graph, x, arrays


def run(graph: SymbolicGraph, output: Value, weights: Arrays, image: np.ndarray, folder: Path) -> np.ndarray:
    """What ONNX Runtime makes of it."""
    import onnxruntime

    from dfer_edge.inference.onnx_writer import write_onnx

    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    write_onnx(path, graph, [Value("image", (-1, 3, 9, 9))], output, weights, {})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


def test_nothing_is_left_out_where_nothing_is_dead() -> None:
    graph, output, weights = network(np.random.default_rng(0))
    found = dead_channels.leave_out(graph, output, weights)
    assert (found.graph, found.weights, found.note) == (graph, weights, "")


@pytest.mark.parametrize("seed", range(6))
def test_networks_with_holes_compute_what_they_did(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    graph, output, weights = network(rng)
    for name, array in weights.items():
        if name.endswith(".weight") and name != "stem.weight":
            array[:, rng.random(array.shape[1]) < 0.4] = 0
        if name.endswith(".weight") and rng.random() < 0.7:
            silent = rng.random(len(array)) < 0.4
            # Some of what is the same everywhere is zero after the ReLU, some is not.
            array[silent] = 0
    found = dead_channels.leave_out(graph, output, weights)
    assert found.graph.macs < graph.macs
    image = rng.standard_normal((2, 3, 9, 9)).astype(np.float32)
    expected = run(graph, output, weights, image, tmp_path)
    np.testing.assert_allclose(
        run(found.graph, found.output, dict(found.weights), image, tmp_path),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )
    whole = dead_channels.put_back(
        {name: np.asarray(found.weights[name], np.float32) for name in found.graph.weights},
        found.note,
        {name: info.shape for name, info in graph.weights.items()},
    )
    np.testing.assert_allclose(run(graph, output, whole, image, tmp_path), expected, atol=1e-5 * np.abs(expected).max())


def test_means_of_dead_channels_are_not_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    graph = SymbolicGraph()
    image = graph.input("image", (3, 9, 9))
    x = graph.conv(image, graph.weight("stem.weight", (8, 3, 3, 3)), graph.weight("stem.bias", (8,)), (1, 1), (1, 1))
    means = graph.reshape(graph.mean(graph.relu(x), (2, 3)), (-1, 1, 8))
    output = graph.linear(means, graph.weight("head.weight", (5, 8)), graph.weight("head.bias", (5,)))
    weights = {name: rng.standard_normal(info.shape) for name, info in graph.weights.items()}
    weights["stem.weight"][[2, 5]], weights["stem.bias"][[2, 5]] = 0, (-1, 0.5)  # zero, and 0.5 everywhere
    weights["head.weight"][:, 7] = 0  # nobody reads it
    found = dead_channels.leave_out(graph, output, weights)
    shapes = {name: info.shape for name, info in found.graph.weights.items()}
    assert (shapes["stem.weight"], shapes["head.weight"]) == ((5, 3, 3, 3), (5, 5))
    pixels = rng.standard_normal((2, 3, 9, 9)).astype(np.float32)
    expected = run(graph, output, weights, pixels, tmp_path)
    actual = run(found.graph, found.output, dict(found.weights), pixels, tmp_path)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_what_is_left_out_is_what_is_dead() -> None:
    graph, output, weights = network(np.random.default_rng(1))
    weights["a.in.weight"][:, 2] = weights["b.in.weight"][:, 2] = weights["last.weight"][:, 2] = 0  # nobody reads it
    weights["b.out.weight"][:], weights["b.out.bias"][:] = 0, 0  # a block that adds nothing
    weights["a.in.weight"][4], weights["a.in.bias"][4] = 0, 0.5  # the same everywhere, read by a 1x1
    found = dead_channels.leave_out(graph, output, weights)
    shapes = {name: info.shape for name, info in found.graph.weights.items()}
    assert shapes["stem.weight"] == (7, 3, 3, 3)
    assert shapes["a.in.weight"] == (5, 7, 3, 3)
    assert shapes["a.out.weight"] == (7, 5, 1, 1)
    assert not [name for name in shapes if name.startswith("b.")]
    kept = [0, 1, 3, 4, 5, 6, 7]
    share = weights["a.out.weight"][:, 4, 0, 0] * 0.5
    np.testing.assert_allclose(found.weights["a.out.bias"], (weights["a.out.bias"] + share)[kept])


def test_a_constant_is_not_folded_where_zeros_surround_it() -> None:
    graph, output, weights = network(np.random.default_rng(2))
    weights["stem.weight"][3], weights["stem.bias"][3] = 0, 0.7
    found = dead_channels.leave_out(graph, output, weights)
    assert found.graph.weights["stem.weight"].shape[0] == 8


def test_a_note_of_another_network_is_refused() -> None:
    graph, output, weights = network(np.random.default_rng(1))
    weights["b.out.weight"][:], weights["b.out.bias"][:] = 0, 0
    note = dead_channels.leave_out(graph, output, weights).note
    shapes = {name: info.shape for name, info in graph.weights.items()}
    for broken in (
        "{",
        '["b"]',
        json.dumps({name: ["ff", "ff"] for name in json.loads(note)}),
        json.dumps({"stem.bias": 1}),
    ):
        with pytest.raises(CorruptArtifact, match="channels"):
            dead_channels.put_back({"stem.weight": np.zeros((1, 3, 3, 3), np.float32)}, broken, shapes)


def test_shipped_weights_say_the_same_without_their_dead_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Weights = resolve("slowr50_sa", "default")
    paths = [tmp_path / f"{name}.onnx" for name in ("trimmed", "whole")]
    onnx_file.write(source, paths[0], "2d", part="features")
    monkeypatch.setattr(dead_channels, "leave_out", dead_channels.Trimmed)
    onnx_file.write(source, paths[1], "2d", part="features")
    assert paths[0].stat().st_size < 0.3 * paths[1].stat().st_size
    feed = {"clip": np.random.default_rng(0).standard_normal((1, 3, 1, 112, 112)).astype(np.float32)}
    found = []
    # torch puts the zeros back: it builds the network itself.
    for path, engine in ((paths[1], "onnxruntime"), (paths[0], "onnxruntime"), (paths[0], "torch")):
        with load_engine(path, engine, "fp32", "cpu", 1) as loaded:
            found.append(loaded.infer(feed)["features"])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-5 * np.abs(found[0]).max())
