"""Fixtures of the tests of the TensorRT engine: simulated libraries, small networks, a cache of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfer_edge.export import onnx_file as export
from tests.engines.fake_tensorrt import VERSIONS, install
from tests.engines.strict_double import World
from tests.engines.tensorrt_cases import small


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.onnx"
    export.write(small("r2plus1d_sta"), path, "2d", external=True)
    return path


@pytest.fixture(scope="session")
def smate_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smate") / "smate.onnx"
    export.write(small("smate"), path, "2d", external=True)
    return path


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))
    # Networks this small gain nothing from threads, and the machine has other work.
    monkeypatch.setattr("dfer_edge.system.cpu.available_cores", lambda: 1)
    return tmp_path / "cache"


@pytest.fixture(params=VERSIONS)
def every_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    return install(monkeypatch, request.param)


@pytest.fixture(params=["10.3", "11.1"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    return install(monkeypatch, request.param)


@pytest.fixture
def strong(monkeypatch: pytest.MonkeyPatch) -> World:
    return install(monkeypatch, "11.1")


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> World:
    return install(monkeypatch, "10.3")
