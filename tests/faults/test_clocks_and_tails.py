"""Odd clocks, and files that end in the middle: times stay right, and what is missing is said."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dfer_edge import InvalidInput
from dfer_edge.sources.opening import open_source
from dfer_edge.sources.video import _Clock
from tests.faults import media
from tests.faults.media import close, decoded
from tests.videos import marked, write_video

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")


def told(tmp_path: Path, stamps: Sequence[float]) -> list[float]:
    """The times of frames with these stamps, at 25 a second."""
    with av.open(str(write_video(tmp_path / "v.mp4", [0, 40, 80]))) as container:
        clock = _Clock(container, container.streams.video[0], "v.mp4")
        return [clock.time_s(stamp) for stamp in stamps]


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        # Each stamp twice is half as many moments, not a clock that goes half as fast.
        ([0, 0, 0.08, 0.08, 0.16, 0.16], [0, 0.04, 0.08, 0.12, 0.16, 0.20]),
        ([0, 0, 0, 0], [0, 0.04, 0.08, 0.12]),
        # The clock of the file is kept behind one stamp given twice, and behind one out of order.
        ([0, 0.04, 0.04, 0.08, 0.12], [0, 0.04, 0.08, 0.09, 0.12]),
        ([0, 0.04, 0.12, 0.08, 0.16], [0, 0.04, 0.12, 0.13, 0.16]),
        # Files joined, and negative stamps.
        ([0, 0.04, 0.08, 0.12, 0.16, 0, 0.04, 0.08], [0, 0.04, 0.08, 0.12, 0.16, 0.20, 0.24, 0.28]),
        ([-5, -4.96, -4.92, -4.88], [0, 0.04, 0.08, 0.12]),
    ],
)
def test_stamps_given_twice_and_out_of_order(tmp_path: Path, stamps: list[float], times: list[float]) -> None:
    assert told(tmp_path, stamps) == pytest.approx(times)


def test_a_thousand_frames_of_one_stamp_are_no_debt(tmp_path: Path) -> None:
    times = told(tmp_path, [0.0] * 1000 + [0.04 * k for k in range(1, 100)])
    assert min(np.diff(times)) == pytest.approx(0.04)


def test_a_recording_that_does_not_begin_at_0_is_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Matroska's duration is the moment of its end: of a part of a day nothing is missing."""
    times = [86_000_000 + 40 * k for k in range(10)]
    frames = [marked(k) for k in range(10)]
    path = media.write_h264(tmp_path / "part.mkv", frames, times=times, time_base=Fraction(1, 1000))
    with caplog.at_level(logging.WARNING, "dfer_edge"):
        found = decoded(path)
    assert (len(found), caplog.text) == (10, "")
    assert found[-1].time_s == pytest.approx(0.36)


@pytest.mark.parametrize(("codec", "name"), [("mpeg1video", "a.m1v"), ("libx264", "a.h264"), ("mpeg4", "a.m4v")])
def test_frames_without_stamps_go_by_their_rate(tmp_path: Path, codec: str, name: str) -> None:
    found = decoded(media.write_frames(tmp_path / name, media.moving(12), codec))
    assert [frame.time_s for frame in found] == pytest.approx([k / 25 for k in range(12)])


_STREAMS = [
    ("a.ts", "mpegts", "libx264", {}),
    ("a.flv", "flv", "flv", {"flvflags": "no_duration_filesize"}),
    ("a.webm", "webm", "libvpx", {"live": "1"}),
    ("a.mkv", "matroska", "libx264", {"live": "1"}),
    ("a.ogv", "ogg", "libvpx", {}),
]


def streamed(path: Path, form: str, codec: str, options: dict[str, str]) -> bytes:
    """Twenty-five frames as programs write them that cannot go back."""
    pipe = io.BytesIO()
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    with av.open(pipe, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        (stream.height, stream.width), stream.pix_fmt = (128, 192), "yuv420p"
        for image in media.moving(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
        content = pipe.getvalue()
    content = pipe.getvalue() if not pipe.closed else content
    path.write_bytes(content)
    return content


@pytest.mark.parametrize(("name", "form", "codec", "options"), _STREAMS, ids=[name for name, *_ in _STREAMS])
def test_the_end_of_a_stream_that_is_cut_is_said(
    tmp_path: Path, name: str, form: str, codec: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    content = streamed(tmp_path / name, form, codec, options)
    with caplog.at_level(logging.WARNING, "dfer_edge"):
        assert len(decoded(tmp_path / name)) == 25
        assert caplog.text == ""
        for cut in (len(content) * 9 // 10 + k for k in (0, 7, 13)):
            (tmp_path / name).write_bytes(content[:cut])
            source, before = open_source(tmp_path / name), len(caplog.records)
            assert 0 < len(list(source)) < 25
            assert source.frames_lost > 0, cut
            assert len(caplog.records) == before + 1


def test_what_others_append_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.mkv", "a.mp4"):
        path = media.write_h264(tmp_path / name, [marked(k) for k in range(5)])
        path.write_bytes(path.read_bytes() + b"\x1a of mine")
        with caplog.at_level(logging.WARNING, "dfer_edge"):
            assert len(decoded(path)) == 5
    assert caplog.text == ""


def test_a_reader_that_stops_has_lost_something(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = media.write_frames(tmp_path / "a.obu", media.moving(12), "libsvtav1")
    content = path.read_bytes()
    # A temporal delimiter, and a header whose size has no end.
    path.write_bytes(content[:-1] + b"\x12\0\x0a" + b"\xff" * 9)
    source = open_source(path)
    with caplog.at_level(logging.WARNING, "dfer_edge"):
        assert len(list(source)) < 12
    assert source.frames_lost > 0
    assert "nothing behind this is read" in caplog.text


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_every_frame_of_an_animation(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    pictures = [Image.fromarray(marked(k)) for k in range(3)]
    options = {"save_all": True, "append_images": pictures[1:], "duration": 100, "exif": exif}
    pictures[0].save(tmp_path / name, **options, **({"lossless": True} if name == "a.webp" else {}))
    found = decoded(tmp_path / name)
    assert len(found) == 3
    for frame, picture in zip(found, pictures, strict=True):
        tagged = picture.copy()
        tagged.getexif()[274] = orientation
        assert close(frame.image, np.asarray(ImageOps.exif_transpose(tagged)), 1)


def jpeg(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(media.moving(1)[0]).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def test_damage_of_a_jpeg_is_no_picture(tmp_path: Path) -> None:
    """OpenCV fills the rest with grey and judges that."""
    content = jpeg()
    half = len(content) // 2
    for wrong in (
        content[:half] + content[half + 300 :],
        content[:half] + b"\xff\xd9",
        content[:half] + b"noise" * 300,
    ):
        (tmp_path / "a.jpg").write_bytes(wrong + b"\xff\xd9")
        with pytest.raises(InvalidInput, match="JPEG data are damaged"):
            open_source(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "content",
    [
        jpeg(exif=b"Exif\0\0no directory"),
        jpeg(progressive=True),
        jpeg(subsampling=1, restart_marker_rows=1),
        jpeg()[:-2] + bytes(5) + b"\xff\xd9",
        jpeg()[:-2] + b"\xff\xff\xd9 and of mine",
        jpeg()[:2] + b"\xff" + jpeg()[2:],
    ],
    ids=["wrong EXIF", "progressive", "restarts", "bytes before the end", "filler at the end", "filler at the start"],
)
def test_jpegs_of_all_programs_are_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert close(decoded(tmp_path / "a.jpg")[0].image, media.moving(1)[0], 12)


def test_a_tiff_without_its_directory_is_cut(tmp_path: Path) -> None:
    Image.fromarray(marked(0)).save(tmp_path / "a.tif", compression="tiff_lzw")
    content = (tmp_path / "a.tif").read_bytes()
    offset = int.from_bytes(content[4:8], "little")
    assert offset > 8
    (tmp_path / "a.tif").write_bytes(content[: offset - 4])
    with pytest.raises(InvalidInput, match="truncated: its directory needs"):
        open_source(tmp_path / "a.tif")
