"""Pictures and lists as the world writes them: shown as players show them, or refused for the right reason."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, Recognizer, SourceNotFound
from dfer_edge.sources.opening import open_source
from dfer_edge.sources.video import VideoSource
from tests.faults import media
from tests.faults.media import close, decoded, patches
from tests.videos import marked, write_video

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")


@pytest.mark.parametrize("name", ["a.jpg", "a.jfif", "a.jpe", "picture", "a.mp4", "a.png", "a.webp", "a.tif", "a.avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_every_picture_whatever_its_name(tmp_path: Path, name: str, orientation: int) -> None:
    small = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    picture = Image.fromarray(np.kron(small, np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[274] = orientation
    form = {"png": "PNG", "webp": "WEBP", "tif": "TIFF", "avif": "AVIF"}.get(name.rpartition(".")[2], "JPEG")
    options = {"quality": 95} if form in ("JPEG", "WEBP", "AVIF") else {}
    picture.save(tmp_path / name, form, exif=exif, **options)
    with Image.open(tmp_path / name) as written:
        expected = np.asarray(ImageOps.exif_transpose(written).convert("RGB"))
    assert close(decoded(tmp_path / name)[0].image, expected, 8)


@pytest.mark.parametrize(
    ("name", "clock"), [("a.webp", True), ("a.png", True), ("a.gif", True), ("a.avif", True), ("a.tif", False)]
)
def test_animations_and_pages(tmp_path: Path, name: str, clock: bool) -> None:
    frames = [Image.new("RGB", (64, 48), (30 * k, 10, 10)) for k in range(6)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    found = decoded(tmp_path / name)
    assert len(found) == 6
    assert [round(f.image[..., 0].mean() / 30) for f in found] == list(range(6))
    times = [f.time_s for f in found]
    assert times == (pytest.approx([0.1 * k for k in range(6)]) if clock else [None] * 6)
    assert open_source(tmp_path / name).is_clip is not clock


def test_heic_is_called_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    path = tmp_path / "IMG_1.JPG"
    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    path.write_bytes(head + box(b"meta", bytes(60)) + box(b"mdat", bytes(99)))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InvalidInput, match="HEIC") as caught:
        open_source(path)
    assert "dfer-edge[heic]" in caught.value.hint
    assert "JPEG" in caught.value.hint


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_heic_is_decoded(tmp_path: Path, mode: str) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.fromarray(patches(64)).convert(mode)
    pillow_heif.from_pillow(picture).save(tmp_path / "p.heic", quality=95)
    (path := tmp_path / "p.jpg").write_bytes((tmp_path / "p.heic").read_bytes())
    assert close(decoded(path)[0].image, np.asarray(picture.convert("RGB")), 4)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="decodes"):
        decoded(path)


def test_damage_of_a_picture_is_named_by_us_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(patches(64)).save(tmp_path / "p.png")
    content = bytearray((tmp_path / "p.png").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(InvalidInput, match="IDAT chunk is damaged"):
        decoded(tmp_path / "p.png")
    assert capfd.readouterr().err == ""


def test_frames_of_no_length_are_shown_a_tenth_of_a_second(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 48), (30 * k, 10, 10)) for k in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=[0, 20, 20])
    assert [f.time_s for f in decoded(tmp_path / "a.webp")] == pytest.approx([0, 0.1, 0.12])


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_the_size_of_an_animation_is_read_first(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (64, 48), (30 * k, 10, 10)) for k in range(2)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    content = bytearray((tmp_path / name).read_bytes())
    large = struct.pack("<HH", 60000, 60000) if name == "a.gif" else struct.pack(">II", 60000, 60000)
    start = 6 if name == "a.gif" else 16
    content[start : start + len(large)] = large
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match="got 60000x60000"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("size", [(60000, 60000), (32000, 32000), (16385, 20)])
def test_size_is_read_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded before its size was looked at"))
    with pytest.raises(InvalidInput, match=f"got {size[0]}x{size[1]}"):
        open_source(media.png_header(tmp_path / "huge.png", *size))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_headers_are_read_right(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[270] = "x" * 5000
    options = {"exif": exif} if form != "BMP" else {}
    Image.new("RGB", (200, 100)).save(tmp_path / "a", form, **options)
    monkeypatch.setattr("dfer_edge.sources.frames.MAX_SIDE", 199)
    with pytest.raises(InvalidInput, match="got 200x100"):
        open_source(tmp_path / "a")


def test_what_systems_leave_in_folders(tmp_path: Path) -> None:
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), marked(index))
    (tmp_path / "2.png").rename(tmp_path / "2")
    (tmp_path / "._0.png").write_bytes(bytes.fromhex("00051607") + bytes(100))
    (tmp_path / ".DS_Store").write_bytes(bytes(100))
    (tmp_path / "Thumbs.db").write_bytes(bytes(100))
    (tmp_path / "@eaDir").mkdir()
    assert len(decoded(tmp_path)) == 3


@pytest.mark.parametrize("index", [-1, 77, 2**40])
def test_cameras_that_are_not_there(index: int) -> None:
    with pytest.raises(InvalidInput, match="camera"):
        list(open_source(index))


@pytest.mark.parametrize("target", [-1, 2**40, 100, "/dev/video200"])
def test_what_is_no_camera_never_reaches_opencv(target: object) -> None:
    """OpenCV ends the process for negative indices, and takes hundreds for backends of its own."""
    from dfer_edge.live.capture import open_feed

    with pytest.raises(InvalidInput, match="index of a camera"):
        open_feed(target)


def test_addresses_are_not_opened_to_be_refused(recognizer: Recognizer) -> None:
    with pytest.raises(InvalidInput, match="source that ends"):
        recognizer.predict("RTSP://192.0.2.1/never")
    assert VideoSource("rtsp://192.0.2.1/never", live=True).live


def test_lists_name_what_they_pass_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from dfer_edge.evaluation.data import read

    folder = tmp_path / "happy"
    folder.mkdir()
    for name in ("a.mp4", "b.ts", "c.unknown"):
        write_video(tmp_path / "v.mp4", [0, 40]).rename(folder / name)
    Image.new("RGB", (32, 32)).save(folder / "d.jfif", "JPEG")
    (folder / "notes.txt").write_text("none")
    (folder / "._a.mp4").write_bytes(bytes(10))
    (folder / "@eaDir").mkdir()
    data = read(tmp_path, ("happy", "sad"))
    assert [sample.name for sample in data.samples] == [
        f"happy/{name}" for name in ("a.mp4", "b.ts", "c.unknown", "d.jfif")
    ]
    assert "1 of 6" in caplog.text
    assert "notes.txt" in caplog.text
    (tmp_path / "l.csv").write_text("path,label\nhappy/a.mp4,1\n")
    assert read(tmp_path / "l.csv", ("happy", "sad")).truth == [1]
    assert "the network's order: 0 happy, 1 sad" in caplog.text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path,label\na.png,Happy\n", "utf-8-sig"),
        ("path;label\r\na.png;happiness\r\n", "utf-8"),
        ("Emotion\tFileName\nhappy\ta.png\n", "utf-16"),
        ('"label","path"\n"happy","b\\c.png"\n', "utf-8"),
        ("a.png,happy\n", "utf-8"),
        ('id;file;note;class\n1;"a.png";"x;y";HAPPY\n\n', "utf-8"),
    ],
)
def test_lists_of_spreadsheets(tmp_path: Path, text: str, encoding: str) -> None:
    from dfer_edge.evaluation.data import read

    (tmp_path / "b").mkdir()
    for name in ("a.png", "b/c.png"):
        cv2.imwrite(str(tmp_path / name), marked(0))
    (tmp_path / "l.csv").write_bytes(text.encode(encoding))
    (sample,) = read(tmp_path / "l.csv", ("sad", "happy")).samples
    assert (sample.truth, sample.path.is_file()) == (1, True)


def test_a_list_in_another_encoding_is_refused_with_a_way_out(tmp_path: Path) -> None:
    from dfer_edge.evaluation.data import read

    (tmp_path / "l.csv").write_bytes("path,label\ncafé.png,happy\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="of text") as caught:
        read(tmp_path / "l.csv", ("sad", "happy"))
    assert "UTF-8" in caught.value.hint


def test_links_pipes_and_what_nobody_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), marked(index))
    (tmp_path / "secret").write_bytes((tmp_path / "0.png").read_bytes())
    real = Path.open

    def opened(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "secret" or (path.name == "1.png" and refuses):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    refuses = False
    # Root may read everything.
    monkeypatch.setattr(Path, "open", opened)
    assert len(decoded(tmp_path)) == 2
    refuses = True
    with pytest.raises(SourceNotFound, match=r"1\.png cannot: Permission denied"):
        decoded(tmp_path)
    for name in ("loop", "pipe"):
        with pytest.raises((SourceNotFound, InvalidInput)):
            open_source(tmp_path / name)
