"""One tiny network and its ranges for all tests of calibration."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfer_edge.calibration import RangeTable, calibrate
from tests.calibration import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def files(folder: Path) -> dict[str, Path]:
    return {form: tiny.network(folder / f"{form}.onnx", form) for form in ("3d", "2d", "shifted")}


@pytest.fixture(scope="session")
def table(files: dict[str, Path]) -> RangeTable:
    return calibrate(files["3d"], tiny.clips(), "minmax", threads=1)
