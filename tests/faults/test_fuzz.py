"""A few mutated files with every run of the tests, ten thousand with the slow ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge import InvalidInput
from dfer_edge.sources import open_source
from tests.faults import fuzz
from tests.videos import write_container

pytest.importorskip("PIL.Image")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_few_mutated_files(tmp_path: Path) -> None:
    ends, findings = fuzz.run(80, seed=7, keep=tmp_path)
    assert findings == []
    assert ends["read"] + ends["refused"] == 80
    assert ends["read"] > 3, "mutations that leave nothing to read show nothing"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_ten_thousand_mutated_files(tmp_path: Path) -> None:
    assert fuzz.run(10_000, seed=0, keep=tmp_path)[1] == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_crashes_and_tracebacks_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness can fail."""
    import os

    path = tmp_path / "a.bin"
    path.write_bytes(bytes(100))
    ways = {"crash": lambda _: os.kill(os.getpid(), 9), "raise": lambda _: [][0], "fine": lambda _: 1}
    monkeypatch.setattr(fuzz, "seeds", lambda _: {name: (path, way) for name, way in ways.items()})
    ends, findings = fuzz.run(30, seed=0, keep=tmp_path / "kept")
    assert ends["crash"] > 2
    assert ends["wrong"] > 2
    assert ends["crash"] + ends["wrong"] + ends["read"] == 30
    assert {"IndexError" in finding.what or "ended with -9" in finding.what for finding in findings} == {True}


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    """Found by seed 0, number 282."""
    path = write_container(tmp_path / "a.avi")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"FMP4", b"\0\xff\0\xff"))
    with pytest.raises(InvalidInput, match="known codec"):
        open_source(path)
    assert np.fromfile(path, np.uint8).size == len(content)
