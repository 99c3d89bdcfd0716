"""What cannot be read is called by its name, with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfer_edge import InvalidInput, SourceNotFound
from dfer_edge.cli.main import main
from dfer_edge.sources.opening import open_source
from tests.videos import write_container


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.jxl", b"\xff\x0a\xfa" + b"\xff" * 60, "JPEG XL"),
        ("a.jpg", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        ("a.psb", b"8BPS\0\2" + bytes(99), "Photoshop"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("b.mp4", b"\n<!DOCTYPE html><html>404</html>", "web page"),
        ("a.zip", b"PK\3\4" + bytes(99), "unpack it"),
        ("a.npy", b"\x93NUMPY\1\0" + bytes(99), "numpy.load"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(99), "DICOM"),
        ("c.mp4", bytes(999), "zeros"),
        ("d.mp4", b"", "empty file"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as raised:
        open_source(tmp_path / name)
    assert what in f"{raised.value.message} {raised.value.hint}"
    assert raised.value.hint


def test_a_picture_is_not_called_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 60000 60000 255\n" + bytes(99))
    with pytest.raises(InvalidInput, match="expected a picture"):
        open_source(tmp_path / "a.ppm")


@pytest.mark.parametrize("name", ["Clip.MP4", "clip.mp", "~/clip.mp4", "-", "9", "none/clip.mp4"])
def test_a_path_with_nothing_there_has_a_hint(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_container(tmp_path / "clip.mov").rename("clip.mp4")
    with pytest.raises(SourceNotFound) as raised:
        open_source(name)
    assert {
        "~/clip.mp4": str(Path(name).expanduser()),
        "-": "standard input",
        "9": "camera",
        "none/clip.mp4": "none",
    }.get(name, "clip.mp4") in raised.value.hint


@pytest.mark.parametrize("start", ["file://", "file:", "FILE://localhost"])
def test_addresses_of_files(tmp_path: Path, start: str) -> None:
    path = write_container(tmp_path / "a b.mkv")
    assert len(list(open_source(start + str(path).replace(" ", "%20")))) == 20


def test_a_folder_of_videos_has_a_way_out(tmp_path: Path) -> None:
    write_container(tmp_path / "a.mkv")
    with pytest.raises(InvalidInput) as raised:
        open_source(tmp_path)
    assert "dfer-edge label" in raised.value.hint


def test_links_in_a_circle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    assert main(["predict", str(tmp_path / "a.mp4")]) == 1
    said = capsys.readouterr().err
    assert "found nothing" in said
    assert "it is a link to b.mp4" in said
