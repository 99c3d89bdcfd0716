"""Shared fixtures: the real-media folder (tests skip with a reason without it) and seeded inputs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def media_folder() -> Path:
    return Path(os.environ.get("DFER_EDGE_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder with real clips, stills and detectors; set DFER_EDGE_TEST_DATA to point elsewhere."""
    folder = media_folder()
    if not folder.is_dir():
        pytest.skip(f"no real media at {folder}")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
