"""Rendered clips: the same bytes for a seed, balanced labels, exact landmarks, errors that say what was expected."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.errors import DferError, InvalidInput, SourceNotFound
from dfer_edge.synthesis import AU_NAMES, CLASSES, ClipSettings, FaceModel, FaceRenderer, SyntheticClip, SyntheticClips
from dfer_edge.synthesis import workers as processes
from tests.conftest import ROOT

SMALL = {"frames": 2, "size": 32}


def _digest(clips) -> list[str]:
    fields = ("frames", "intensity", "action_units", "landmarks", "head_pose", "times_s")
    return [
        hashlib.sha256(
            b"".join(getattr(clip, name).tobytes() for name in fields) + str((clip.label, clip.seed)).encode()
        ).hexdigest()
        for clip in clips
    ]


@pytest.mark.parametrize("per_person", [1, 3])
def test_the_same_bytes_for_any_number_of_workers(fake_path: Path, per_person: int) -> None:
    def drawn(workers: int) -> list[str]:
        return _digest(
            SyntheticClips(11, seed=4, model=fake_path, workers=workers, clips_per_person=per_person, **SMALL)
        )

    alone = drawn(0)
    assert len(set(alone)) == 11
    assert drawn(1) == alone
    assert drawn(3) == alone


MANY_THREADS = """
import sys
from dfer_edge.synthesis import SyntheticClips

here, there = (SyntheticClips(4, seed=1, frames=64, size=16, model=sys.argv[1], workers=w) for w in (0, 1))
for one, other in zip(here, there, strict=True):
    assert one.frames.tobytes() == other.frames.tobytes()
    assert one.landmarks.tobytes() == other.landmarks.tobytes()
"""


def test_threads_of_the_caller_change_no_bit(fake_path: Path) -> None:
    """A worker's BLAS has one thread, the caller's may have many; long clips, which it would share out."""
    many = {**os.environ, "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MANY_THREADS, str(fake_path)]
    done = subprocess.run(command, env=many, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_any_order_gives_the_same_clip(fake_path: Path) -> None:
    clips = SyntheticClips(9, seed=4, model=fake_path, clips_per_person=2, **SMALL)
    forward = _digest(clips)
    assert _digest([clips[7], clips[-9], clips[3]]) == [forward[7], forward[0], forward[3]]
    assert _digest(clips.range(5, 8)) == forward[5:8]
    with pytest.raises(IndexError):
        clips[9]


def test_a_worker_pool_may_start_in_the_middle_or_stop_early(fake_path: Path) -> None:
    clips = SyntheticClips(9, seed=4, model=fake_path, workers=2, clips_per_person=2, **SMALL)
    assert _digest(clips.range(5, 8)) == _digest([clips[5], clips[6], clips[7]])
    started = iter(clips)
    next(started)
    started.close()


def test_other_seeds_and_settings_give_other_pictures(fake_path: Path) -> None:
    first = SyntheticClips(3, seed=1, model=fake_path, **SMALL)[0]
    assert (SyntheticClips(3, seed=2, model=fake_path, **SMALL)[0].frames != first.frames).any()
    assert (SyntheticClips(3, seed=1, model=fake_path, span=2.0, **SMALL)[0].frames != first.frames).any()


def test_shapes_and_types(fake_path: Path) -> None:
    clip = SyntheticClips(1, model=fake_path, frames=3, size=48)[0]
    assert clip.frames.shape == (3, 48, 48, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.landmarks.shape == (3, 68, 2)
    assert clip.action_units.shape == (3, len(AU_NAMES))
    assert clip.intensity.shape == clip.times_s.shape == (3,)
    assert clip.head_pose.shape == (3, 3)
    assert clip.label_name == CLASSES[clip.label]
    assert all(np.isfinite(array).all() for array in (clip.landmarks, clip.action_units, clip.head_pose))


@pytest.mark.parametrize("size", [16, 37, 64, 256])
def test_any_size(fake_path: Path, size: int) -> None:
    clip = SyntheticClips(1, model=fake_path, frames=1, size=size)[0]
    assert clip.frames.shape == (1, size, size, 3)
    inside = (clip.landmarks > 0) & (clip.landmarks < size)
    assert inside.mean() > 0.95


def test_classes_are_balanced(fake_path: Path) -> None:
    clips = SyntheticClips(70, model=fake_path, **SMALL)
    labels = [clips.label(index) for index in range(70)]
    assert np.bincount(labels).tolist() == [10] * 7
    assert sorted(labels[14:21]) == list(range(7)), "any round has all"
    assert labels[:7] != labels[7:14] or labels[7:14] != labels[14:21], "rounds have orders of their own"
    chosen = SyntheticClips(6, model=fake_path, classes=("contempt", "fear"), **SMALL)
    assert sorted(chosen.label(index) for index in range(6)) == [6, 6, 6, 7, 7, 7]


def test_a_person_stays_for_the_clips_asked_for(fake_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, draw = [], FaceRenderer.person

    def remember(self, rng):
        drawn.append(draw(self, rng).look.skin.tolist())
        return draw(self, np.random.default_rng(0))

    monkeypatch.setattr(FaceRenderer, "person", remember)
    people = [clip.person for clip in SyntheticClips(7, seed=3, model=fake_path, clips_per_person=3, **SMALL)]
    assert people == [0, 0, 0, 1, 1, 1, 2]
    assert len(drawn) == 3, "each is painted once"
    assert len({str(skin) for skin in drawn}) == 3


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"count": 0}, "count >= 1"),
        ({"count": -3}, "count >= 1"),
        ({"count": 1, "workers": -1}, "workers >= 0"),
        ({"count": 1, "seed": -1}, "seed >= 0"),
        ({"count": 1, "size": 0}, "size from 16 to 512, got 0"),
        ({"count": 1, "frames": 0}, "frames from 1"),
        ({"count": 1, "span": float("nan")}, "span"),
        ({"count": 1, "fps": 0.0}, "frames a second"),
        ({"count": 1, "clips_per_person": 0}, "clips_per_person"),
        ({"count": 1, "degrade": 2.0}, "degrade"),
        ({"count": 1, "pose_spread": -1.0}, "pose_spread"),
        ({"count": 1, "classes": ()}, "got none"),
        ({"count": 1, "classes": ("joy",)}, "got joy"),
    ],
)
def test_bad_arguments(fake_path: Path, arguments: dict[str, object], what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        SyntheticClips(model=fake_path, **arguments)


def test_a_missing_model_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        SyntheticClips(5, model=tmp_path / "none.npz", workers=2)


def test_a_label_out_of_range(fake: FaceModel) -> None:
    with pytest.raises(InvalidInput, match="label from 0 to 7, got 8"):
        FaceRenderer(fake).clip((0, 0), 8, ClipSettings(**SMALL))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that a test starts."""
    started, start = [], processes._start

    def remember(job):
        started.append(start(job))
        return started[-1]

    monkeypatch.setattr(processes, "_start", remember)
    return started


def test_a_worker_that_dies_is_an_error(fake_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    source = iter(SyntheticClips(50, model=fake_path, workers=2, **SMALL))
    next(source)
    children[1].kill()
    with pytest.raises(DferError, match="ended early with exit code -9"):
        list(source)
    assert [child.poll() is not None for child in children] == [True, True], "the other one is not left behind"


def test_a_worker_draws_on_while_clips_of_another_are_asked_for(
    fake_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """Its clips are more than a pipe holds, and none of them is taken before it has drawn them all."""
    clips = SyntheticClips(8, model=fake_path, workers=2, clips_per_person=4, frames=2, size=160)
    assert clips[0].frames.nbytes > 2**16
    source = clips.range(0, 8)
    next(source)
    assert children[1].wait(timeout=120) == 0
    assert [clip.seed for clip in source] == [(0, index) for index in range(1, 8)]


def test_clips_that_nobody_takes_are_bounded(fake_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = SyntheticClips(10_000, model=fake_path, workers=2, clips_per_person=100, **SMALL)
    clip, read = clips[0], []
    monkeypatch.setattr(processes, "_start", lambda job: subprocess.Popen("true", stdout=subprocess.PIPE))
    monkeypatch.setattr(processes, "_read", lambda source: read.append(source) or clip)
    source = clips.range(0, clips.count)
    assert [next(source) for _ in range(50)] == [clip] * 50
    source.close()
    assert len(read) <= 50 + 2 * processes._MOST_AHEAD


ABANDONED = """
import sys
from dfer_edge.synthesis import SyntheticClips

source = iter(SyntheticClips(50, model=sys.argv[1], workers=2, frames=2, size=160))
next(source)
"""


def test_a_program_may_end_in_the_middle(fake_path: Path) -> None:
    command = [sys.executable, "-c", ABANDONED, str(fake_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_held_out_camera_is_clean(fake: FaceModel) -> None:
    """Without degradation two renders of the same still differ in nothing, frame after frame."""
    renderer = FaceRenderer(fake)
    clip: SyntheticClip = renderer.clip((0, 0), 2, ClipSettings(frames=1, size=48, degrade=0.0))
    again = renderer.clip((0, 0), 2, ClipSettings(frames=1, size=48, degrade=0.0))
    np.testing.assert_array_equal(clip.frames, again.frames)
