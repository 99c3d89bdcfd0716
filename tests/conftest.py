"""Shared fixtures: the real-media folder (tests skip with a reason without it), a clip of our own, one recogniser."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import Recognizer
from dfer_edge.sources.opening import open_source

ROOT = Path(__file__).resolve().parents[1]
ASTRONAUT = ROOT / "tests" / "assets" / "astronaut.mp4"


# Files of many seconds and few tests. They come first, so that processes side by side end together.
LONG = (
    "product/test_packaging",
    "flow/test_streaming",
    "kernels/test_native",
    "inference/test_smate",
    "training/test_resume",
    "test_recognizer",
    "faults/test_threads",
    "kernels/test_triton",
    "faults/test_telemetry",
    "engines/test_self_test",
    "engines/test_tensorrt_run",
    "evaluation/test_report",
    "live/test_scoring",
    "training/test_one_number",
    "live/test_int8_steps",
    "training/test_transplant",
    "weights/test_compact",
    "weights/test_weights",
    "faults/test_kill_and_full_disk",
    "reproduce/test_killed",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first, the others as they are."""
    place = {str(ROOT / "tests" / f"{name}.py"): number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(str(item.path), len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's cache, and ignore a detector of the user's.

    Processes that run side by side share one, so that a network is exported once; and the cores, because engines of
    two threads each would wait for one another, spinning.
    """
    folder = tmp_path_factory.getbasetemp()
    cache = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "shared-cache"
    cache.mkdir(exist_ok=True)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = max(1.0, (os.cpu_count() or 1) / workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFER_EDGE_CACHE", str(cache))
        if workers > 1:
            patch.setattr("dfer_edge.system.cpu.quota", lambda *_: share)
        patch.delenv("DFER_EDGE_YUNET", raising=False)
        patch.delenv("DFER_EDGE_LANDMARKS", raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def _freed_memory_goes_back() -> Iterator[None]:
    """Hundreds of networks leave holes in the heap, and tests that fork copy the map of all of it."""
    yield
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder with real clips, stills and detectors; set DFER_EDGE_TEST_DATA to point elsewhere."""
    folder = Path(os.environ.get("DFER_EDGE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real media at {folder}")
    return folder


@pytest.fixture(scope="session")
def yunet(media: Path) -> Path:
    return media / "onnx" / "face_detection_yunet_2026may.onnx"


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """A clip of our own: one face, 50 frames, 25 a second, 256x256."""
    return ASTRONAUT


@pytest.fixture(scope="session")
def astronaut_frames(astronaut: Path) -> list[np.ndarray]:
    return [frame.image for frame in open_source(astronaut)]


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    """Random weights on the engine that every installation has."""
    # One thread: on a busy machine two wait for each other most of the time.
    return Recognizer("slowr50_sa", weights="random", engine="onnxruntime", detector="haar", threads=1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
