from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge.calibration import ClipSet, from_folder
from dfer_edge.calibration.data import LEAST_CLIPS, check
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.types import Box, Clip
from tests.calibration import tiny

SHAPES = {"clip": tiny.CLIP}


def clip(rng: np.random.Generator) -> Clip:
    side = tiny.SPEC.size
    frames = rng.integers(0, 256, (tiny.SPEC.frames, side, side, 3), np.uint8)
    return Clip(frames, (), Box(0, 0, side, side))


def test_a_set_is_read_as_often_as_asked_and_drops_repetitions(rng: np.random.Generator) -> None:
    clips, first = ClipSet(tiny.SPEC), clip(rng)
    assert clips.add(first)
    assert not clips.add(first)
    assert clips.add(clip(rng))
    twice = [[feed["clip"] for feed in clips] for _ in range(2)]
    np.testing.assert_array_equal(twice[0], twice[1])
    assert len(clips) == 2
    expected = (first.frames[0, 3, 5].astype(np.float64) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(twice[0][0][0, :, 0, 3, 5], expected, atol=1e-6)


def test_split_parts_do_not_overlap(rng: np.random.Generator) -> None:
    clips = ClipSet(tiny.SPEC)
    for _ in range(9):
        clips.add(clip(rng))
    used, held = clips.split(4)
    assert (len(used), len(held)) == (7, 2)
    seen = [feed["clip"].tobytes() for part in (used, held) for feed in part]
    assert len(set(seen)) == 9
    np.testing.assert_array_equal(held[:1][0]["clip"], held[0]["clip"])


def test_a_clip_of_another_size_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InvalidInput, match="expected uint8"):
        ClipSet(tiny.SPEC).add(Clip(np.zeros((4, 13, 12, 3), np.uint8), (), Box(0, 0, 1, 1)))


def test_hash_of_the_clips_is_that_of_their_content() -> None:
    assert check(tiny.clips(), SHAPES) == check(tiny.clips(), SHAPES)
    assert check(tiny.clips(), SHAPES) != check(tiny.clips(seed=1), SHAPES)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], f"at least {LEAST_CLIPS} different clips, got 0"),
        (tiny.clips(LEAST_CLIPS - 1), f"got {LEAST_CLIPS - 1}"),
        (tiny.clips(1) * 40, "40 clips, 1 of them different"),
        (iter(tiny.clips()), "read twice"),
        ([{"clip": np.full((1, *tiny.CLIP), n, np.float32)} for n in range(20)], "20 of 20 have one value"),
        ([{"image": np.zeros((1, 3, 4, 4), np.float32)}], "clip 0 does not fit"),
        ([{"clip": np.zeros((1, *tiny.CLIP))}], "clip 0 does not fit.*float32"),
        ([*tiny.clips(3), {"clip": np.full((1, *tiny.CLIP), np.nan, np.float32)}], "NaN or infinity in clip of clip 3"),
    ],
)
def test_unfit_clips(clips: list, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        check(clips, SHAPES)


def test_folders_without_faces(tmp_path: Path, media: Path) -> None:
    with pytest.raises(CalibrationError, match="found none at"):
        from_folder(tmp_path / "missing", tiny.SPEC)
    (tmp_path / "note.txt").write_text("no video")
    with pytest.raises(CalibrationError, match="expected videos or pictures"):
        from_folder(tmp_path, tiny.SPEC)
    (tmp_path / "broken.mp4").write_bytes(b"no video either")
    (tmp_path / "no_face.jpg").symlink_to(media / "stills" / "no_face.jpg")
    with pytest.raises(CalibrationError, match="expected faces"):
        from_folder(tmp_path, tiny.SPEC, detector="haar")


def test_clips_of_a_video(tmp_path: Path, astronaut: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.mp4").symlink_to(astronaut)
    calls: list[tuple[int, int | None]] = []
    clips = from_folder(tmp_path, tiny.SPEC, 3, "haar", progress=lambda *call: calls.append(call))
    assert 1 <= len(clips) <= 3
    assert len(set(clips.digests())) == len(clips)
    assert next(iter(clips))["clip"].shape == (1, *tiny.CLIP)
    assert calls[-1] == (3, 3)
