"""Archives to tables: one machine."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet as pq

from dfer_edge import DferError, InvalidInput
from dfer_edge.cli.main import main
from dfer_edge.label import Report, label_archive
from dfer_edge.label.archive import _stamps
from dfer_edge.label.rows import Setup
from dfer_edge.label.table import Parts
from dfer_edge.weights import file as weights
from tests.flow.test_streaming import small


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    path = weights.save(tmp_path_factory.mktemp("weights") / "small.safetensors", small("slowr50_sa").float())
    return Setup(weights=str(path), engine="onnxruntime", precision="fp32", detector="haar", threads=1, window_s=1.0)


@pytest.fixture
def archive(tmp_path: Path, astronaut: Path) -> Path:
    folder = tmp_path / "archive"
    (folder / "b").mkdir(parents=True)
    shutil.copy(astronaut, folder / "a.mp4")
    shutil.copy(astronaut, folder / "b" / "z.MP4")
    (folder / "b" / "broken.mp4").write_bytes(astronaut.read_bytes()[:2000])
    (folder / "empty.mov").touch()
    (folder / "notes.txt").write_text("no video")
    return folder


def test_media_are_told_as_everywhere_else(archive: Path, astronaut: Path) -> None:
    """By name or content; one list for all of the package."""
    shutil.copy(astronaut, archive / "without a suffix")
    shutil.copy(astronaut, archive / "._resource.mp4")
    for name in ("clip.WMV", "phone.3gp", "camera.m2ts"):
        (archive / name).touch()
    (archive / "locked.dat").touch(mode=0)
    assert set(_stamps(archive)) == {
        *("a.mp4", "b/z.MP4", "b/broken.mp4", "empty.mov", "without a suffix", "clip.WMV", "phone.3gp", "camera.m2ts")
    }


def test_one_row_a_person_and_window_and_a_reason_for_bad_files(archive: Path, setup: Setup, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    report = label_archive(archive, out, setup)
    assert report == Report(files=4, labelled=4, known=0, no_face=0, failed=2, rows=6)
    table = pq.read_table(out).to_pylist()
    assert [row["file"] for row in table] == ["a.mp4", "a.mp4", "b/broken.mp4", "b/z.MP4", "b/z.MP4", "empty.mov"]
    assert [row["status"] for row in table] == ["ok", "ok", "failed", "ok", "ok", "failed"]
    assert table[0]["end_s"] == pytest.approx(1.0)
    assert sum(table[0][name] for name in table[0] if name.startswith("p_")) == pytest.approx(1, abs=1e-5)
    assert "truncated" in table[2]["reason"] or "expected" in table[2]["reason"]
    assert str(archive) not in table[2]["reason"]
    assert table[2]["label"] is None
    assert not list(tmp_path.glob("*.parts")), "nothing is left beside the table"


def test_an_interrupted_run_goes_on_and_ends_with_the_same_table(
    archive: Path, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "labels.parquet"
    label_archive(archive, whole, setup)
    add, calls = Parts.add, []

    def stops(self: Parts, rows: list) -> None:
        calls.append(rows[0]["file"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, rows)

    monkeypatch.setattr(Parts, "add", stops)
    with pytest.raises(KeyboardInterrupt):
        label_archive(archive, out, setup)
    assert not out.exists()
    report = label_archive(archive, out, setup)
    assert (report.known, report.labelled) == (2, 2)
    assert pq.read_table(out).equals(pq.read_table(whole))
    assert label_archive(archive, out, setup).labelled == 0


def test_what_changed_is_labelled_again(archive: Path, setup: Setup, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    label_archive(archive, out, setup)
    later = time.time_ns() + 10**9
    os.utime(archive / "a.mp4", ns=(later, later))
    (archive / "empty.mov").unlink()
    report = label_archive(archive, out, setup)
    assert (report.known, report.labelled, report.files) == (2, 1, 3)
    other = Setup(**{**setup.__dict__, "window_s": 0.5})
    assert label_archive(archive, out, other).labelled == 3, "another setup uses nothing"


def test_damaged_parts_are_made_again(archive: Path, setup: Setup, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    folder = tmp_path / "labels.parquet.parts"
    folder.mkdir()
    parts = Parts(out, ("happy",), "x")
    for name in ("a.mp4", "b/z.MP4"):
        parts._path(name).write_bytes(b"PAR1 half a file")
    assert label_archive(archive, out, setup).labelled == 4


def test_a_full_disk_is_an_error_that_keeps_what_is_there(
    archive: Path, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels.parquet"

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(DferError, match=r"cannot write .*: No space left on device"):
        label_archive(archive, out, setup)
    assert not [path for path in tmp_path.rglob("*.parquet*") if path.is_file()]
    monkeypatch.undo()
    assert label_archive(archive, out, setup).labelled == 4


def test_no_folder_or_nothing_in_it(setup: Setup, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a folder"):
        label_archive(tmp_path / "none", tmp_path / "o.parquet", setup)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="videos or images"):
        label_archive(tmp_path / "empty", tmp_path / "o.parquet", setup)


def test_command(archive: Path, setup: Setup, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "labels.parquet"
    words = ["label", str(archive), "--out", str(out), "--weights", setup.weights, "--engine", "onnxruntime"]
    words += ["--precision", "fp32", "--detector", "haar", "--threads", "1", "--window", "1", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 6
    assert np.isfinite(pq.read_table(out)["confidence"].to_pylist()[0])
