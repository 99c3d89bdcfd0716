"""The part ``embedding`` of every network: what its classifier reads, on every engine that is here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge import InvalidInput, Recognizer
from dfer_edge.engines import load_engine, reasons
from dfer_edge.errors import CorruptArtifact
from dfer_edge.export import onnx_file
from dfer_edge.inference import record, registry
from dfer_edge.inference.parts import EMBEDDING, LOGITS
from dfer_edge.models import list_models
from dfer_edge.weights import file as weights_file
from tests.conftest import ASTRONAUT

ENGINES = [name for name in ("onnxruntime", "openvino", "torch") if not reasons(name)]


@pytest.mark.parametrize("name", list_models())
def test_ends_before_the_classifier(name: str) -> None:
    spec = registry.find(name).spec
    graph, _, output = record(spec, "2d", "embedding")
    whole, _, logits = record(spec, "2d")
    assert output.shape[-1] != spec.num_classes
    left_out = set(whole.weights) - set(graph.weights)
    assert sum(whole.weights[key].size for key in left_out) == (output.shape[-1] + 1) * spec.num_classes
    assert logits.shape == (-1, spec.num_classes)
    assert {used for node in graph.nodes for used in node.inputs} >= set(graph.weights) | set(graph.constants)


def small(name: str) -> weights_file.Weights:
    source = weights_file.random(name)
    return dataclasses.replace(source, spec=dataclasses.replace(source.spec, size=64, frames=4))


@pytest.mark.parametrize("engine", ENGINES)
def test_logits_follow_from_it(engine: str, tmp_path: Path) -> None:
    source = small("slowr50_sa")
    for part in ("whole", "embedding"):
        onnx_file.write(source, tmp_path / f"{part}.onnx", "2d", part=part)  # type: ignore[arg-type]
    kept = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "whole.onnx").graph.initializer}
    feed = {"clip": np.random.default_rng(0).standard_normal((2, 3, 4, 64, 64), np.float32)}
    with load_engine(tmp_path / "whole.onnx", engine, "fp32") as whole:
        logits = whole.infer(feed)[LOGITS]
    with load_engine(tmp_path / "embedding.onnx", engine, "fp32") as part:
        rows = part.infer(feed)[EMBEDDING]
    assert rows.shape == (2, 512)
    weight, bias = kept["classifier.weight"], kept["classifier.bias"]
    np.testing.assert_allclose(rows @ weight.reshape(len(bias), -1).T + bias, logits, rtol=1e-4, atol=1e-4)


def test_recognizer_embeds_a_clip() -> None:
    recognizer = Recognizer("slowr50_sa", engine="onnxruntime", precision="fp32", threads=1)
    vector = recognizer.embed(ASTRONAUT)
    assert vector.dtype == np.float32
    assert vector.shape == (512,)
    np.testing.assert_array_equal(vector, recognizer.embed(ASTRONAUT))
    assert np.isfinite(vector).all()
    assert vector.any()
    assert repr(recognizer) == "<Recognizer slowr50_sa, weights default, onnxruntime fp32 on cpu>"


def test_an_onnx_file_ends_in_logits(tmp_path: Path) -> None:
    path = onnx_file.export_onnx("slowr50_sa", tmp_path / "whole.onnx")
    recognizer = Recognizer("slowr50_sa", weights=path, engine="onnxruntime", threads=1)
    with pytest.raises(InvalidInput, match="finished network") as raised:
        recognizer.embed(ASTRONAUT)
    assert "--part embedding" in raised.value.hint


def test_unknown_parts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.onnx"
    onnx_file.write(small("slowr50"), path, "2d", part="embedding")
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == "dfer_edge.part").value = "middle"
    onnx.save(model, path)
    with pytest.raises(CorruptArtifact, match="embedding"):
        load_engine(path, "onnxruntime", "fp32")
