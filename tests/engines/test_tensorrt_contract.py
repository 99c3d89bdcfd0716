"""The contract of all engines, kept by the TensorRT engine on the double."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dfer_edge import engines
from dfer_edge.engines import load_engine
from tests.engines.fake_tensorrt import install
from tests.engines.test_contract import (  # noqa: F401
    test_bad_feeds,
    test_batches_are_dynamic_and_rows_independent,
    test_closed_engine,
    test_input_is_left_alone_and_may_be_strided,
    test_results_belong_to_the_caller,
    write,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"2d": write(tmp_path_factory.mktemp("onnx") / "2d.onnx", "2d")}


@pytest.fixture
def to_close(engine: engines.Engine) -> engines.Engine:
    return engine


@pytest.fixture
def engine(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[engines.Engine]:
    # The session's cache: the engine is built once for all of them.
    monkeypatch.setattr("dfer_edge.system.cpu.available_cores", lambda: 1)
    world = install(monkeypatch, "11.1")
    with load_engine(files["2d"], "tensorrt", "fp32") as loaded:
        yield loaded
    assert not world.cuda.memory, "memory of a closed engine was not given back"
    assert not world.cuda.streams
    assert not world.cuda.graphs
    assert not world.cuda.events
