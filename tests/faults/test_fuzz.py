"""A few mutated files with every run of the tests, ten thousand with the slow ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import CorruptArtifact, InvalidInput
from dfer_edge.sources.opening import open_source
from dfer_edge.sources.video import VideoSource
from tests.faults import fuzz
from tests.videos import marked, write_container

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


def test_an_ebml_header_longer_than_any_file(tmp_path: Path) -> None:
    """Found by seed 0, number 4021."""
    (tmp_path / "a.webm").write_bytes(b"\x1a\x45\xdf\xa3" + b"\x01\x7f" + b"\xff" * 6 + bytes(100))
    with pytest.raises(InvalidInput, match="EBML header needs"):
        open_source(tmp_path / "a.webm")


def test_exif_that_the_decoder_passes_on(tmp_path: Path) -> None:
    """Found by seed 0, number 398: a JPEG that only FFmpeg takes for one, and MJPEG of cameras."""
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(marked(0)).save(tmp_path / "p.jpg", exif=exif)
    content = (tmp_path / "p.jpg").read_bytes()
    (tmp_path / "v.mjpeg").write_bytes(content[:2] + b"\xff" + content[2:] + content)
    source = VideoSource(str(tmp_path / "v.mjpeg"))
    assert {frame.image.shape for frame in source} == {(96, 64, 3)}


def test_results_without_what_a_run_says(tmp_path: Path) -> None:
    """Found by seed 0, number 5411."""
    from dfer_edge.bench.report.results import SCHEMA, read

    (tmp_path / "r.jsonl").write_text(json.dumps({"schema": SCHEMA, "kind": "run"}) + "\n")
    with pytest.raises(CorruptArtifact, match="provenance"):
        read(tmp_path / "r.jsonl")
