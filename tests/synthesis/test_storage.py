"""Rendered sets on disk and the command that writes them: whole shards or none, continued, read back exactly."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput, SourceNotFound
from dfer_edge.synthesis import RenderedClips, SyntheticClips, storage, write_clips
from tests.commands import run

FIELDS = (
    "frames",
    "intensity",
    "action_units",
    "landmarks",
    "head_pose",
    "times_s",
    "label",
    "label_name",
    "seed",
    "person",
)


@pytest.fixture
def clips(fake_path: Path, monkeypatch: pytest.MonkeyPatch) -> SyntheticClips:
    monkeypatch.setattr(storage, "_SHARD_BYTES", 4 * 2 * 32 * 32 * 3)  # four clips a shard
    return SyntheticClips(10, seed=6, frames=2, size=32, model=fake_path)


def test_what_is_read_is_what_was_rendered(clips: SyntheticClips, tmp_path: Path) -> None:
    seen = []
    write_clips(clips, tmp_path / "set", lambda done, total: seen.append((done, total)))
    back = RenderedClips(tmp_path / "set")
    assert len(back) == 10
    assert seen == [(count, 10) for count in range(1, 11)]
    assert [shard["count"] for shard in back.manifest["shards"]] == [4, 4, 2]
    assert back.manifest["synthetic"] is True
    for got, want in zip(back, clips, strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    assert back.labels.tolist() == [clips.label(index) for index in range(10)]
    np.testing.assert_array_equal(back[-1].frames, clips[9].frames)
    assert back.column("person").tolist() == list(range(10))
    assert back.column("landmarks").shape == (10, 2, 68, 2)
    with pytest.raises(InvalidInput, match="got feelings"):
        back.column("feelings")
    with pytest.raises(IndexError):
        back[10]


def _fail_on_call(monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    calls, save = [], np.save

    def fail(file, array, **options):
        calls.append(1)
        if len(calls) == number:
            file.write(b"half a shard")
            raise OSError(code, "No space left on device")
        save(file, array, **options)

    monkeypatch.setattr(np, "save", fail)


@pytest.mark.parametrize("whole", [0, 1])
def test_a_full_disk_keeps_whole_shards_and_can_go_on(
    clips: SyntheticClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    folder = tmp_path / "set"
    with monkeypatch.context() as patch:
        _fail_on_call(patch, whole + 1, errno.ENOSPC)
        with pytest.raises(DferError, match=rf"no space left for .*frames-0000{whole}\.npy.*run the same command"):
            write_clips(clips, folder)
    assert not list(folder.glob("*.part"))
    assert not (folder / f"frames-0000{whole}.npy").exists()
    assert len(RenderedClips(folder)) == 4 * whole
    before = [path.stat().st_mtime_ns for path in folder.glob("frames-*.npy")]
    write_clips(clips, folder)
    kept = [(folder / f"frames-0000{number}.npy").stat().st_mtime_ns for number in range(whole)]
    assert kept == before, "whole shards are not rendered again"
    back = RenderedClips(folder)
    assert len(back) == 10
    np.testing.assert_array_equal(back[7].frames, clips[7].frames)


def test_a_kill_in_the_first_write_of_the_manifest(clips: SyntheticClips, tmp_path: Path) -> None:
    (tmp_path / "manifest.json.part").write_text("{")
    write_clips(clips, tmp_path)
    assert len(RenderedClips(tmp_path)) == 10


def test_a_folder_of_something_else_is_left_alone(clips: SyntheticClips, fake_path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years")
    with pytest.raises(InvalidInput, match="expected an empty folder"):
        write_clips(clips, tmp_path / "other")
    write_clips(clips, tmp_path / "set")
    with pytest.raises(InvalidInput, match="another rendered set"):
        write_clips(SyntheticClips(10, seed=7, frames=2, size=32, model=fake_path), tmp_path / "set")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="expected an empty folder"):
        write_clips(clips, tmp_path / "file")


@pytest.mark.parametrize(
    "damage", ["no manifest", "bad manifest", "other format", "short frames", "no labels", "wrong count"]
)
def test_a_damaged_set(clips: SyntheticClips, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "set"
    write_clips(clips, folder)
    manifest = folder / "manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "bad manifest":
        manifest.write_text("{")
    elif damage == "other format":
        manifest.write_text(json.dumps({"format": "x", "shards": []}))
    elif damage == "short frames":
        data = (folder / "frames-00001.npy").read_bytes()
        (folder / "frames-00001.npy").write_bytes(data[: len(data) // 2])
    elif damage == "no labels":
        (folder / "labels-00002.npz").unlink()
    else:
        manifest.write_text(manifest.read_text().replace('"count": 2', '"count": 3'))
    with pytest.raises(SourceNotFound if damage == "no manifest" else CorruptArtifact):
        RenderedClips(folder)


def test_the_command_writes_images_and_a_preview(
    fake_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet = tmp_path / "set", tmp_path / "sheet.png"
    settings = ["--size", 32, "--workers", 0, "--model", fake_path, "--images"]
    code, text, err = run(capsys, "synth", "--count", 9, "--out", out, *settings, "--preview", sheet, "--json")
    assert (code, err) == (0, "")
    document = json.loads(text)
    assert document["clips"] == 9
    assert document["frames"] == 1
    assert sum(document["classes"].values()) == 9
    assert set(document["classes"].values()) == {1, 2}
    assert cv2.imread(str(sheet)).shape == (7 * 32, 2 * 32, 3)
    assert RenderedClips(out)[8].frames.shape == (1, 32, 32, 3)


def test_the_command_renders_clips_of_chosen_classes(
    fake_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--frames", 3, "--size", 32, "--workers", 1, "--model", fake_path, "--classes", "contempt", "happy"]
    code, text, _ = run(capsys, "synth", "--count", 2, "--out", tmp_path / "set", *settings)
    assert code == 0
    assert "2 clips of 3 frames (contempt 1, happy 1)" in text


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--count", "0"], 1, "count >= 1"),
        (["--count", "2", "--size", "0"], 1, "size from 16 to 512"),
        (["--count", "many"], 2, "invalid int"),
        (["--count", "2", "--classes", "joy"], 2, "invalid choice"),
        (["--count", "2", "--images", "--clips"], 2, "not allowed"),
        (["--count", "2", "--preview", "sheet.jpg"], 2, "ends in .png"),
    ],
)
def test_wrong_usage_is_one_line(
    fake_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, what: str
) -> None:
    got, _, err = run(capsys, "synth", "--out", tmp_path / "set", "--model", fake_path, *arguments)
    assert got == code
    assert what in err.splitlines()[-1]
    assert not (tmp_path / "set").exists()


def test_a_missing_model_names_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DFER_EDGE_FACE_MODEL", raising=False)
    code, _, err = run(capsys, "synth", "--count", 1, "--out", tmp_path / "set")
    assert code == 1
    assert err.splitlines()[0] == "dfer-edge: expected a face model, none is named"
    assert "DFER_EDGE_FACE_MODEL" in err.splitlines()[1]
