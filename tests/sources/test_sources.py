"""Sources: real decoders, odd clocks, lying headers, broken files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, SourceNotFound
from dfer_edge.sources.containers import truncation
from dfer_edge.sources.opening import open_source
from tests.videos import marked, turn_by_metadata, write_container, write_video


def level(image: np.ndarray) -> float:
    return float(image[-8:, -8:].mean())


@pytest.mark.parametrize(
    ("name", "frames", "shape"),
    [
        ("single_face.mp4", 72, (360, 640, 3)),
        ("face_then_none.mov", 169, (540, 960, 3)),
        ("no_face.mp4", 95, (540, 960, 3)),
        ("two_people_head_pose.gif", 56, (270, 480, 3)),
        ("three_people_walking.gif", 41, (270, 480, 3)),
    ],
)
def test_real_videos_decode_whole(media: Path, name: str, frames: int, shape: tuple[int, ...]) -> None:
    decoded = list(open_source(media / "video" / name))
    assert [frame.index for frame in decoded] == list(range(frames))
    assert {frame.image.shape for frame in decoded} == {shape}
    times = [frame.time_s for frame in decoded]
    assert times[0] == 0
    assert all(b > a for a, b in itertools.pairwise(times))


def test_a_lying_frame_count_is_only_a_hint(media: Path) -> None:
    source = open_source(media / "video" / "no_face.mp4")
    assert source.length_hint == 98
    assert len(list(source)) == 95


def test_a_video_is_opened_once_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", [0, 40, 80])
    opened, real = [], av.open
    monkeypatch.setattr(av, "open", lambda target, **options: (opened.append(target), real(target, **options))[1])
    source = open_source(path)
    assert [len(list(source)) for _ in range(2)] == [3, 3]
    assert len(opened) == 2


def test_colour_is_rgb_from_the_source_on(tmp_path: Path, astronaut_frames: list[np.ndarray]) -> None:
    path = write_video(tmp_path / "red.mp4", [0, 40, 80])
    for frame in open_source(path):
        red, green, blue = frame.image[4:20, 4:20].reshape(-1, 3).mean(0)
        assert red > 180
        assert max(green, blue) < 80
    # The orange suit of the portrait: more red than blue.
    suit = astronaut_frames[0][-40:, 40:80].reshape(-1, 3).mean(0)
    assert suit[0] > suit[2] + 50


def test_variable_frame_rate_keeps_presentation_times(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 500, 540, 1500, 1540]
    frames = list(open_source(write_video(tmp_path / "vfr.mp4", times_ms)))
    assert [round(frame.time_s * 1000) for frame in frames] == times_ms
    assert [round((level(frame.image) - 40) / 4) for frame in frames] == list(range(7))


def test_rotation_metadata_turns_the_picture(tmp_path: Path) -> None:
    upright = write_video(tmp_path / "upright.mp4", [0, 40, 80])
    turned = turn_by_metadata(upright, tmp_path / "turned.mp4")
    before, after = (next(iter(open_source(path))).image for path in (upright, turned))
    assert before.shape == (64, 96, 3)
    assert after.shape == (96, 64, 3)
    np.testing.assert_allclose(after.astype(int), np.rot90(before, -1).astype(int), atol=12)


def test_image_folder_in_natural_order(tmp_path: Path) -> None:
    for index in (10, 9, 2, 0):
        cv2.imwrite(str(tmp_path / f"frame{index}.png"), marked(index)[:, :, ::-1])
    (tmp_path / "notes.txt").write_text("passed over")
    levels = [round((level(frame.image) - 40) / 4) for frame in open_source(tmp_path)]
    assert levels == [0, 2, 9, 10]


def test_arrays_and_sequences_are_the_same(rng: np.random.Generator) -> None:
    array = rng.integers(0, 256, (3, 20, 30, 3), np.uint8)
    for source in (array, list(array), tuple(array)):
        assert all(np.array_equal(f.image, image) for f, image in zip(open_source(source), array, strict=True))


GOOD = np.zeros((32, 32, 3), np.uint8)
BAD_FRAMES = {
    "empty list": ([], "at least one frame"),
    "zero frames": (np.zeros((0, 32, 32, 3), np.uint8), "at least one frame"),
    "float with NaN": (np.full((2, 32, 32, 3), np.nan, np.float32), "uint8 RGB, got dtype float32"),
    "int64": (np.zeros((2, 32, 32, 3), np.int64), "got dtype int64"),
    "one channel": ([np.zeros((32, 32, 1), np.uint8)], r"got \[32, 32, 1\]"),
    "four channels": ([np.zeros((32, 32, 4), np.uint8)], r"got \[32, 32, 4\]"),
    "grey": ([np.zeros((32, 32), np.uint8)], r"\[H, W, 3\]"),
    "a single frame": (GOOD, r"\[T, H, W, 3\]"),
    "unequal sizes": ([GOOD, np.zeros((32, 48, 3), np.uint8)], "one size"),
    "1x1": ([np.zeros((1, 1, 3), np.uint8)], "got 1x1"),
    "too large": ([np.zeros((16, 20_000, 3), np.uint8)], "got 20000x16"),
    "nested lists": ([[1, 2], [3, 4]], "numpy array, got list"),
    "None": (None, "got None"),
    "a boolean": (True, "got True"),
    "a bytearray": (bytearray(b"video"), "got bytearray"),
    "a number": (1.5, "got float"),
}


@pytest.mark.parametrize(("source", "message"), BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_bad_frames_say_what_came(source: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        open_source(source)


def test_missing_path_is_also_a_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="nothing at") as caught:
        open_source(tmp_path / "none.mp4")
    assert isinstance(caught.value, FileNotFoundError)


def test_folder_of_unequal_images(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((32, 40, 3), np.uint8))
    with pytest.raises(InvalidInput, match=r"one size, 32x32.*; got 40x32 in .*b\.png"):
        list(open_source(tmp_path))


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="folder with images"):
        open_source(tmp_path)


def test_broken_image_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG broken IEND")
    with pytest.raises(InvalidInput, match="decodes"):
        list(open_source(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello, I am text\n", "looks like text"), (b"", "empty file"), (bytes(range(256)) * 9, "Invalid data")],
)
def test_files_that_are_no_video(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        open_source(path)


@pytest.mark.parametrize("faststart", [False, True], ids=["index last", "index first"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_mp4_is_refused_wherever_it_is_cut(tmp_path: Path, faststart: bool, share: float) -> None:
    whole = write_video(tmp_path / "whole.mp4", list(range(0, 2000, 40)), faststart).read_bytes()
    assert truncation(tmp_path / "whole.mp4") == ""
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InvalidInput, match="truncated"):
        open_source(cut)


def picture(path: Path) -> bytes:
    """A picture that is no video, written to ``path``."""
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["mkv", "webm", "avi", "gif", "png", "jpg", "mov"])
def test_other_truncated_files_are_refused_too(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    if suffix in ("png", "jpg"):
        picture(whole)
    else:
        write_container(whole)
    assert truncation(whole) == ""
    assert len(list(open_source(whole))) == (1 if suffix in ("png", "jpg") else 20)
    for share in (0.3, 0.6, 0.95):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        with pytest.raises(InvalidInput, match="truncated"):
            open_source(cut)


PADDING = {"zeros": bytes(64), "another file": b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a line end": b"\r\n"}


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
@pytest.mark.parametrize("suffix", ["gif", "png", "jpg"])
def test_bytes_behind_the_end_are_harmless(tmp_path: Path, suffix: str, padding: bytes) -> None:
    path = tmp_path / f"padded.{suffix}"
    content = write_container(path).read_bytes() if suffix == "gif" else picture(path)
    path.write_bytes(content + padding)
    assert len(list(open_source(path))) == (20 if suffix == "gif" else 1)


@pytest.mark.parametrize("suffix", ["gif", "png", "jpg"])
def test_a_cut_picture_is_refused_wherever_it_is_cut(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    content = write_container(path).read_bytes() if suffix == "gif" else picture(path)
    for length in {*range(8, len(content), 97), *range(len(content) - 20, len(content))}:
        path.write_bytes(content[:length])
        assert truncation(path), f"cut after {length} of {len(content)} bytes"


def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    content = picture(path)
    thumbnail = b"\xff\xe1" + (2 + len(content)).to_bytes(2, "big") + content
    path.write_bytes(content[:2] + thumbnail + content[2:])
    assert len(list(open_source(path))) == 1
    path.write_bytes(content[:2] + thumbnail + content[2:900])
    assert "end marker" in truncation(path)


@pytest.mark.parametrize("parameter", [cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_RST_INTERVAL])
def test_jpegs_of_many_scans_and_restarts(tmp_path: Path, parameter: int) -> None:
    path = tmp_path / "scans.jpg"
    cv2.imwrite(str(path), np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8), [parameter, 1])
    content = path.read_bytes()
    assert truncation(path) == ""
    path.write_bytes(content[: len(content) // 2])
    assert truncation(path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InvalidInput, match="regular file"):
        open_source(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InvalidInput, match="folder with images"):
        open_source(tmp_path)


@pytest.mark.parametrize("path", ["", "a" * 5000, "nul\0byte.mp4"])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(InvalidInput, match=r"expected a path|nothing at"):
        open_source(path)
