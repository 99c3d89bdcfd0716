from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.calibration import ClipSet, from_folder
from dfer_edge.calibration import data as data_module
from dfer_edge.calibration.clip_set import LEAST_CLIPS, check
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.types import Box, Clip, Frame
from tests.calibration import tiny

SHAPES = {"clip": tiny.CLIP}
TINT = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1, 1)


def clip(rng: np.random.Generator, indices: tuple[int, ...] = ()) -> Clip:
    side = tiny.SPEC.size
    frames = rng.integers(0, 256, (tiny.SPEC.frames, side, side, 3), np.uint8)
    return Clip(frames, indices, Box(0, 0, side, side))


def windows(clips: ClipSet, rng: np.random.Generator, source: str, count: int) -> None:
    """Clips of a file whose windows are 40 frames long and hop by 10."""
    for start in range(0, 10 * count, 10):
        assert clips.add(clip(rng, tuple(range(start + 5, start + 40, 10))), source=source)


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


def seen_by(clips: ClipSet, numbers: list[int]) -> set[tuple[str | None, int]]:
    """Source and frame of everything in these clips."""
    kept = list(clips._kept.values())
    return {(kept[n].source, frame) for n in numbers for frame in range(kept[n].first, kept[n].last + 1)}


@pytest.mark.parametrize("counts", [[40], [40, 40], [40, 2], [3, 40], [10, 10, 10, 10, 10], [1] * 8 + [9]])
def test_no_frame_is_on_both_sides_of_a_split(rng: np.random.Generator, counts: list[int]) -> None:
    clips = ClipSet(tiny.SPEC)
    for number, count in enumerate(counts):
        windows(clips, rng, f"{number}.mp4", count)
    used, held = (part._numbers for part in clips.split(4))
    assert len(clips) / 8 <= len(held) <= len(clips) / 4
    assert len(used) >= len(clips) / 2
    assert not seen_by(clips, used) & seen_by(clips, held)
    if len(counts) > 3:
        sources = [clip.source for clip in clips._kept.values()]
        assert not {sources[n] for n in used} & {sources[n] for n in held}
        assert len(used) + len(held) == len(clips), "whole files lose no clip"


def test_files_give_clips_in_turns(
    tmp_path: Path, astronaut: Path, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_module, "_WINDOWS", ((0.5, 0.1),))
    (tmp_path / "a_long.mp4").symlink_to(astronaut)
    for number in range(3):
        (tmp_path / f"still_{number}.png").symlink_to(media / "stills" / "astronaut.png")
    (tmp_path / "z.mp4").symlink_to(media / "video" / "single_face.mp4")
    (tmp_path / "no_face.jpg").symlink_to(media / "stills" / "no_face.jpg")
    first, again = (from_folder(tmp_path, tiny.SPEC, 3, "haar") for _ in range(2))
    assert first.digests() == again.digests()
    names = [Path(source).name for source in sorted(first.sources())]
    assert names == ["a_long.mp4", "still_0.png", "z.mp4"], "one each, though the first has enough"
    assert {Path(path).name for path in first.skipped} == {"no_face.jpg", "still_1.png", "still_2.png"}
    more = from_folder(tmp_path, tiny.SPEC, 6, "haar")
    assert len(more) == 6, "what some files do not give, others do"
    assert not more.sources() & set(more.skipped)


def test_a_file_that_gave_clips_is_not_skipped_though_it_breaks_off(
    tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.mp4").symlink_to(astronaut)
    real, opened = data_module.open_source, []

    class BreaksOff:
        in_memory = is_clip = False

        def __init__(self, path: Path) -> None:
            opened.append(path)
            self._source = real(path)

        def __iter__(self) -> Iterator[Frame]:
            yield from itertools.islice(self._source, 40)
            raise InvalidInput("cut off")

    monkeypatch.setattr(data_module, "_WINDOWS", ((0.5, 0.1), (0.3, 0.1)))
    monkeypatch.setattr(data_module, "open_source", BreaksOff)
    clips = from_folder(tmp_path, tiny.SPEC, 99, "haar")
    assert len(clips) > 1
    assert not clips.skipped
    assert len(opened) == 1, "a broken file is not tried again"


def test_a_network_of_landmarks_gets_its_detector(rng: np.random.Generator, tmp_path: Path, astronaut: Path) -> None:
    spec = dataclasses.replace(tiny.SPEC, landmarks=68)
    with pytest.raises(InvalidInput, match="expected 68 landmarks a frame for tiny, got none"):
        ClipSet(spec).add(clip(rng))
    (tmp_path / "one.mp4").symlink_to(astronaut)
    clips = from_folder(tmp_path, spec, 2, "haar")
    assert next(iter(clips))["landmarks"].shape == (1, spec.frames, 68, 2)


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
        ([{"clip": np.full((1, *tiny.CLIP), n, np.float32)} for n in range(20)], "20 of 20 have one colour"),
        ([{"clip": np.full((1, *tiny.CLIP), n, np.float32) + TINT} for n in range(20)], "20 of 20 have one colour"),
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
