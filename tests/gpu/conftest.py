"""Tests that need a CUDA device: python -m pytest tests/gpu -m gpu. Built, not yet run on hardware."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> str:
    """The CUDA device, for torch."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    return "cuda:0"


@pytest.fixture(params=["cuda", "triton"])
def backend(request: pytest.FixtureRequest) -> str:
    """A GPU backend; tests ask ``backends(op)[backend]`` for the reason to skip."""
    return str(request.param)
