"""Many predictions leave no memory, no threads and no descriptors behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dfer_edge.engines import reasons
from tests.faults.growth import ENGINES, Held, grown

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_500_predictions(engine: str) -> None:
    if reason := reasons(engine):
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.faults.growth", "--count", "500", "--engine", engine]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_stays_is_seen() -> None:
    """The judge can fail: by a list that is kept, a file, a thread."""
    before = Held.now()
    with Path(__file__).open():
        assert "descriptors" in grown(before, Held.now())
    assert grown(before, before._replace(resident=before.resident + before.resident // 30)) != ""
    assert grown(before, before._replace(threads=before.threads + 1)) != ""
    assert grown(before, Held.now()) == ""
