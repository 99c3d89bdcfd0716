"""The fake model, which needs no data, and the real one where it is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfer_edge.synthesis import FaceModel, FaceRenderer, load_face_model
from tests.synthesis import fake_model


@pytest.fixture(scope="session")
def fake_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_model.write(tmp_path_factory.mktemp("model") / "fake.npz")


@pytest.fixture(scope="session")
def fake(fake_path: Path) -> FaceModel:
    return load_face_model(fake_path)


@pytest.fixture(scope="session")
def ict_path(media: Path) -> Path:
    path = media / "face_model" / "ict_face_light.npz"
    if not path.is_file():
        pytest.skip(f"no face model at {path}")
    return path


@pytest.fixture(scope="session")
def ict(ict_path: Path) -> FaceRenderer:
    return FaceRenderer(load_face_model(ict_path))
