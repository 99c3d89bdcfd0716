"""Videos and pictures as the world writes them: shown as players show them, or refused for the right reason."""

from __future__ import annotations

import logging
import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, Recognizer, SourceNotFound
from dfer_edge.sources.opening import VideoSource, open_source
from dfer_edge.types import Frame
from tests.faults import media
from tests.videos import marked, write_container, write_video

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
ONE = 1 << 16


def decoded(path: object) -> list[Frame]:
    return list(open_source(path))


def close(a: np.ndarray, b: np.ndarray, limit: float = 6.0) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) <= limit


def test_interlaced_video_is_decoded(tmp_path: Path) -> None:
    frames = [marked(k, 128, 192) for k in range(12)]
    found = decoded(media.write_h264(tmp_path / "fields.mp4", frames, interlaced=True))
    assert [round(f.time_s * 25) for f in found] == list(range(12))
    assert all(close(f.image, frame) for f, frame in zip(found, frames, strict=True))


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = media.write_h264(tmp_path / "pal.mp4", [marked(k, 576, 720) for k in range(2)], Fraction(64, 45))
    assert decoded(path)[0].image.shape == (576, 1024, 3)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((ONE, 0, 0, ONE), lambda image: image),
        ((-ONE, 0, 0, ONE), lambda image: image[:, ::-1]),
        ((ONE, 0, 0, -ONE), lambda image: image[::-1]),
        ((-ONE, 0, 0, -ONE), lambda image: image[::-1, ::-1]),
        ((0, ONE, -ONE, 0), lambda image: np.rot90(image, -1)),
        ((0, -ONE, ONE, 0), lambda image: np.rot90(image)),
        ((0, ONE, ONE, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -ONE, -ONE, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
    ],
)
def test_the_display_matrix_turns_and_mirrors(tmp_path: Path, matrix: tuple[int, ...], shown: object) -> None:
    plain = write_video(tmp_path / "plain.mp4", [0, 40])
    a, b, c, d = matrix
    turned = media.set_matrix(plain, tmp_path / "turned.mp4", (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert close(decoded(turned)[0].image, shown(decoded(plain)[0].image), 2)  # type: ignore[operator]


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_streams_the_default_one(tmp_path: Path, default: int) -> None:
    image = decoded(media.write_two_streams(tmp_path / "two.mkv", default))[0].image
    assert image.shape == ((64, 96, 3), (48, 64, 3))[default]


def test_damage_is_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = media.write_h264(tmp_path / "long.mp4", media.moving(100), key_every=10)
    assert len(decoded(path)) == 100
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    content[len(content) * 4 // 10 : len(content) * 6 // 10] = rng.bytes(
        len(content) * 6 // 10 - len(content) * 4 // 10
    )
    path.write_bytes(content)
    source = open_source(path)
    with caplog.at_level(logging.WARNING, "dfer_edge"):
        frames = list(source)
    assert len(frames) + source.frames_lost == 100
    assert 60 <= len(frames) <= 90
    assert "damaged" in caplog.text
    # Both ends are there, at their own times.
    assert (frames[0].time_s, round(frames[-1].time_s or 0, 2)) == (0, 3.96)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mjpeg"), ("a.mpg", "mpeg2video"), ("a.wmv", "wmv2")],
)
def test_damage_is_counted_where_no_list_of_frames_is(tmp_path: Path, name: str, codec: str) -> None:
    path = media.write_frames(tmp_path / name, media.moving(100), codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    assert len(decoded(path)) == 100
    content = bytearray(path.read_bytes())
    content[len(content) * 4 // 10 : len(content) * 6 // 10] = bytes(len(content) * 6 // 10 - len(content) * 4 // 10)
    path.write_bytes(content)
    source = open_source(path)
    frames = list(source)
    assert 30 <= len(frames) <= 90
    assert len(frames) + source.frames_lost == pytest.approx(100, abs=1)


def test_what_ends_before_its_header_says_is_damaged(tmp_path: Path) -> None:
    path = media.write_frames(tmp_path / "a.flv", media.moving(100), "libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(path)
    frames = list(source)
    assert 30 <= len(frames) <= 70
    assert len(frames) + source.frames_lost == pytest.approx(100, abs=3)


def test_a_pause_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = [40 * k for k in range(20)] + [100_000 + 40 * k for k in range(20)]
    path = media.write_h264(tmp_path / "p.mkv", media.moving(40), times=times, time_base=Fraction(1, 1000))
    source = open_source(path)
    assert len(list(source)) == 40
    assert (source.frames_lost, caplog.text) == (0, "")


def test_damage_of_a_gif_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_container(tmp_path / "a.gif")
    content = bytearray(path.read_bytes())
    second = [k for k in range(len(content)) if content[k : k + 2] == b"\x21\xf9"][5]
    content[second] = 0x77
    path.write_bytes(content)
    source = open_source(path)
    assert len(list(source)) == 5
    assert source.frames_lost >= 1
    assert "damaged" in caplog.text


def test_what_an_edit_list_leaves_out_is_not_lost(tmp_path: Path) -> None:
    """Whole groups before the edit are not even in the demuxer's index."""
    path = media.write_h264(tmp_path / "e.mp4", media.moving(40), key_every=10)
    content = bytearray(path.read_bytes())
    # Of the one entry of the edit list: its start, after kind, size, version, number of entries and duration.
    start = content.index(b"elst") + 4 + 4 + 4 + 4
    content[start : start + 4] = (20 * 512).to_bytes(4, "big")
    path.write_bytes(content)
    source = open_source(path)
    assert len(list(source)) == 20
    assert source.frames_lost == 0


def test_reordered_frames_of_an_avi_are_timed_by_their_place(tmp_path: Path) -> None:
    """It has no stamps of presentation, and empty frames count in its rate."""
    with av.open(str(tmp_path / "b.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "bframes=3:b-adapt=0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(marked(k), "rgb24")))
        container.mux(stream.encode())
    found = decoded(tmp_path / "b.avi")
    assert [close(f.image, marked(k)) for k, f in enumerate(found)] == [True] * 20
    assert [f.time_s for f in found] == pytest.approx([0.04 * k for k in range(20)], abs=0.001)


def test_motion_jpeg_without_a_container_is_a_video(tmp_path: Path) -> None:
    for k in range(4):
        Image.fromarray(marked(k)).save(tmp_path / f"{k}.jpg", quality=95)
    content = [(tmp_path / f"{k}.jpg").read_bytes() for k in range(4)]
    for name in ("m.mjpeg", "m.jpg", "m"):
        (tmp_path / name).write_bytes(b"".join(content))
        found = decoded(tmp_path / name)
        assert [close(f.image, marked(k)) for k, f in enumerate(found)] == [True] * 4
        assert [f.time_s for f in found] == pytest.approx([0, 0.04, 0.08, 0.12])
    # A preview behind a picture is none of its frames, and two views are one picture.
    Image.new("RGB", (32, 32)).save(tmp_path / "small.jpg")
    (tmp_path / "preview.jpg").write_bytes(content[0] + (tmp_path / "small.jpg").read_bytes())
    views = [Image.fromarray(marked(k)) for k in range(2)]
    views[0].save(tmp_path / "views.mpo", save_all=True, append_images=views[1:])
    assert [len(decoded(tmp_path / name)) for name in ("preview.jpg", "views.mpo")] == [1, 1]


def test_pixels_of_no_camera_are_square(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = media.write_h264(tmp_path / "s.mp4", [marked(0)], Fraction(64, 45))
    content = bytearray(path.read_bytes())
    start = content.index(b"pasp") + 4
    content[start : start + 8] = struct.pack(">II", 100, 1)
    path.write_bytes(content)
    assert decoded(path)[0].image.shape == (64, 96, 3)
    assert "100 times" in caplog.text


PATCHES = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (20, 20, 20), (235, 235, 235))


def patches(side: int) -> np.ndarray:
    return np.concatenate([np.full((side, side, 3), colour, np.uint8) for colour in PATCHES], 1)


def colours(image: np.ndarray) -> np.ndarray:
    side = image.shape[1] // len(PATCHES)
    inner = slice(side // 4, side - side // 4)
    found: np.ndarray = image.reshape(side, len(PATCHES), side, 3)[inner, :, inner].mean((0, 2))
    return found


@pytest.mark.parametrize(("matrix", "side", "said"), [(5, 64, True), (1, 64, True), (9, 64, True), (1, 240, False)])
def test_the_matrix_of_colours(tmp_path: Path, matrix: int, side: int, said: bool) -> None:
    """HD without a word is BT.709 to every player."""
    tags = {"colorspace": matrix}
    path = media.write_frames(tmp_path / "c.mkv", [patches(side)] * 2, "libx264", "yuv444p", **tags)
    if not said:
        with av.open(str(path)) as source:
            frames = list(source.decode(video=0))
        path = tmp_path / "unsaid.mkv"
        with av.open(str(path), "w") as target:
            stream = target.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = side, side * len(PATCHES), "yuv444p"
            for frame in frames:
                frame.colorspace = 2
                target.mux(stream.encode(frame))
            target.mux(stream.encode())
    np.testing.assert_allclose(colours(decoded(path)[0].image), PATCHES, atol=4)


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_shown_as_on_a_screen(tmp_path: Path, transfer: int) -> None:
    """ITU-R BT.2100, white paper at 203 of 10,000 nits, or 0.265 of the most of HLG."""
    light = (patches(64) / 255.0) ** 2.4 @ np.linalg.inv(
        np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]).T
    )
    if transfer == 16:
        power = np.maximum(light * 0.0203, 0) ** (2610 / 16384)
        level = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        scene = light * 0.265
        level = np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
        )
    image = np.round(np.clip(level, 0, 1) * 65535).astype(np.uint16)
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    path = media.write_frames(tmp_path / "h.mkv", [image] * 2, "libx265", "yuv444p10le", **tags)
    np.testing.assert_allclose(colours(decoded(path)[0].image), PATCHES, atol=16)


def test_frames_lost_are_in_the_timeline(tmp_path: Path, recognizer: Recognizer) -> None:
    path = media.write_h264(tmp_path / "long.mp4", media.moving(50), key_every=10)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)
    timeline = recognizer.timeline(path, faces="cropped")
    assert timeline.frames_lost > 0
    assert timeline.frame_count + timeline.frames_lost == 50
    assert timeline.to_dict()["frames_lost"] == timeline.frames_lost


def test_a_clock_that_jumps_is_bridged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = [0, 40, 80, *(1_700_000_000_000 + 40 * k for k in range(3, 8))]
    path = media.write_h264(
        tmp_path / "jump.mkv", [marked(k) for k in range(8)], times=times, time_base=Fraction(1, 1000)
    )
    with caplog.at_level(logging.WARNING, "dfer_edge"):
        found = decoded(path)
    assert len(found) == 8
    assert found[-1].time_s < 60
    assert "jumps" in caplog.text


def test_an_hour_without_frames_costs_no_windows(tmp_path: Path, recognizer: Recognizer) -> None:
    path = media.write_h264(
        tmp_path / "pause.mkv",
        [marked(k) for k in range(4)],
        times=[0, 40, 3_500_000, 3_500_400],
        time_base=Fraction(1, 1000),
    )
    observations = recognizer.timeline(path, faces="cropped", window_s=0.5).observations
    assert 1 < len(observations) < 5
    assert observations[-1].time_s == pytest.approx(3500, abs=1)


def test_stamps_of_a_microsecond_are_kept(tmp_path: Path) -> None:
    frames = [marked(k) for k in range(4)]
    path = media.write_h264(tmp_path / "fast.mp4", frames, times=list(range(4)), time_base=Fraction(1, 1_000_000))
    assert [frame.time_s for frame in decoded(path)] == pytest.approx([k / 1e6 for k in range(4)])


def test_an_avi_from_a_pipe_is_whole(tmp_path: Path) -> None:
    path = write_container(tmp_path / "pipe.avi")
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(decoded(path)) == 20


def test_sound_alone_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="only audio"):
        open_source(media.write_sound(tmp_path / "talk.wav"))


@pytest.mark.parametrize(
    "name", [b"caf\xe9.mp4", b"a:b.mp4", b"http:.mp4", "面白い.mp4".encode(), b"50%d.mp4", b"-v.mp4"]
)
def test_any_name_a_file_can_have(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    write_video(tmp_path / "v.mp4", [0, 40]).rename(path)
    for same in (path, str(path), os.fsencode(path)):
        assert len(decoded(same)) == 2
    cv2.imwrite(str(tmp_path / "p.png"), marked(0))
    picture = (tmp_path / "p.png").rename(path.with_suffix(".png"))
    assert len(decoded(picture)) == 1


def test_an_address_of_a_file_is_a_path(tmp_path: Path) -> None:
    write_video(tmp_path / "a b.mp4", [0, 40])
    assert len(decoded(f"file://{tmp_path}/a%20b.mp4")) == 2


def test_playlists_do_not_reach_the_network(tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(InvalidInput, match="looks like text"):
        decoded(tmp_path / "list.mp4")


# -- pictures ----------------------------------------------------------------------------------------------------------


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
