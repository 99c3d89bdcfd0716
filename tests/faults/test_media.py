"""Videos and pictures as the world writes them: shown as players show them, or refused for the right reason."""

from __future__ import annotations

import logging
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, Recognizer
from dfer_edge.sources.opening import open_source
from tests.faults import media
from tests.faults.media import PATCHES, close, colours, decoded, patches
from tests.videos import marked, write_container, write_video

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
ONE = 1 << 16


def test_interlaced_video_is_decoded(tmp_path: Path) -> None:
    frames = [marked(k, 128, 192) for k in range(12)]
    found = decoded(media.write_h264(tmp_path / "fields.mp4", frames, interlaced=True))
    assert [round(f.time_s * 25) for f in found] == list(range(12))
    assert all(close(f.image, frame) for f, frame in zip(found, frames, strict=True))


def test_fields_of_two_moments_do_not_comb(tmp_path: Path) -> None:
    """A bar that moves between the two fields of a frame is in one place of the picture, not in two."""

    def moment(number: int) -> np.ndarray:
        image = np.full((128, 192, 3), 40, np.uint8)
        image[:, 6 * number : 6 * number + 24] = 220
        return image

    def comb(image: np.ndarray) -> float:
        rows = image[16:-16].astype(int)
        return float(np.abs(np.diff(rows, axis=0)).mean())

    frames = [moment(2 * k) for k in range(12)]
    for k, frame in enumerate(frames):
        frame[1::2] = moment(2 * k + 1)[1::2]
    found = decoded(media.write_h264(tmp_path / "fields.mp4", frames, interlaced=True))
    assert len(found) == 12
    assert all(comb(f.image) < comb(frame) / 4 for f, frame in list(zip(found, frames, strict=True))[1:])


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


def test_what_the_decoder_calls_wrong_is_left_out(tmp_path: Path) -> None:
    """It conceals some damage, gives the frame, and says so."""
    path = media.write_frames(tmp_path / "a.mpg", media.moving(60), "mpeg2video")
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + 3000] = np.random.default_rng(3).bytes(3000)
    path.write_bytes(content)
    with av.open(str(path)) as container:
        given = list(container.decode(video=0))
    start = given[0].time
    wrong = {round(25 * (frame.time - start)) for frame in given if frame.is_corrupt}
    source = open_source(path)
    read = {round(25 * (frame.time_s or 0)) for frame in source}
    assert wrong
    assert read == {round(25 * (frame.time - start)) for frame in given} - wrong
    assert source.frames_lost >= len(wrong)


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
    # The declared length is of the same clock: the jump is no hole of billions of frames.
    assert "damaged" not in caplog.text


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
