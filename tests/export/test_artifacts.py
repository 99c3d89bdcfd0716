"""Exported networks in the cache: what makes two of them different, and what is done about damaged ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfer_edge import CorruptArtifact, Recognizer
from dfer_edge.engines import load_engine, reasons
from dfer_edge.engines.external import mapped_bytes
from dfer_edge.export import artifacts
from dfer_edge.export import onnx_file as export
from dfer_edge.weights import file as weights


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))


def test_exported_once_and_keyed_by_what_changes_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    first = artifacts.prepare(weights.random("slowr50"), "2d")
    monkeypatch.setattr(export, "write", lambda *a, **k: pytest.fail("exported again"))
    assert artifacts.prepare(weights.random("slowr50"), "2d") == first
    source = weights.random("slowr50")
    named = dataclasses.replace(source, spec=source.spec.with_labels(tuple("abcdefg")))
    others = [
        artifacts.key(source, "2d"),
        artifacts.key(source, "3d"),
        artifacts.key(source, "2d", "head"),
        artifacts.key(weights.random("slowr50", 1), "2d"),
        artifacts.key(weights.random("slowr50_sa"), "2d"),
        artifacts.key(named, "2d"),
    ]
    assert len({key.name for key in others}) == 6


def test_another_constant_or_release_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    source, real = weights.random("smate"), artifacts.record
    before = artifacts.key(source, "2d")

    def changed(*arguments: object) -> object:
        graph, *others = real(*arguments)
        name = next(name for name, values in graph.constants.items() if values.dtype == np.float32)
        graph.constants[name] = graph.constants[name] + 1
        return graph, *others

    monkeypatch.setattr(artifacts, "record", changed)
    assert artifacts.key(source, "2d").name != before.name
    monkeypatch.setattr(artifacts, "record", real)
    assert artifacts.key(source, "2d").name == before.name
    monkeypatch.setattr(artifacts, "__version__", "0.1.1")
    assert artifacts.key(source, "2d").name != before.name


def test_a_damaged_export_is_written_again(caplog: pytest.LogCaptureFixture) -> None:
    """One bit of a weight: it loads, it runs, it is wrong. Only the hash sees it."""
    path = artifacts.prepare(weights.random("slowr50"), "2d")
    data = path.with_name("model.onnx.data")
    whole = data.read_bytes()
    data.write_bytes(whole[:5_000_000] + bytes([whole[5_000_000] ^ 64]) + whole[5_000_001:])
    Recognizer("slowr50", weights="random", engine="onnxruntime", detector="haar")
    assert "another sha256" in caplog.text
    assert data.read_bytes() == whole


@pytest.fixture
def external(tmp_path: Path) -> Path:
    export.write(weights.random("slowr50"), tmp_path / "mine.onnx", "2d", external=True)
    return tmp_path / "mine.onnx"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_tampered_weights_beside_a_users_file_are_refused(engine: str, external: Path) -> None:
    if reason := reasons(engine):
        pytest.skip(reason)
    assert mapped_bytes(external) > 100e6
    load_engine(external, engine, "fp32").close()
    values = np.memmap(external.with_name("mine.onnx.data"), np.float32, "r+")
    values[1234567] += 1
    values.flush()
    del values
    with pytest.raises(CorruptArtifact, match=r"expected weights with sha256 .* got .*mine.onnx.data"):
        load_engine(external, engine, "fp32")


def test_a_file_without_a_hash_loads_with_a_line_in_the_log(external: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = onnx.load(external, load_external_data=False)
    kept = [entry for entry in model.metadata_props if "sha256" not in entry.key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    external.write_bytes(model.SerializeToString())
    with caplog.at_level("INFO", "dfer_edge"):
        load_engine(external, "onnxruntime", "fp32").close()
    assert "no hash of its weights" in caplog.text
