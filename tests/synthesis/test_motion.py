"""Clips over time: a moment of expression in long calm, uneven times, cuts; nothing changes where none is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge.errors import InvalidInput
from dfer_edge.synthesis import (
    CLASSES,
    ClipSettings,
    FaceModel,
    FaceRenderer,
    RenderedClips,
    SyntheticClip,
    SyntheticClips,
)
from dfer_edge.synthesis.animation import NEUTRAL_LABEL, perform, uneven
from dfer_edge.synthesis.storage import write_clips
from dfer_edge.training.recipes import Crop, Pixels
from dfer_edge.training.transplant import data

HAPPY = CLASSES.index("happy")


@pytest.mark.parametrize("seed", range(12))
def test_a_moment_lasts_a_quarter_to_one_and_a_half_seconds_and_rest_is_rest(seed: int) -> None:
    times = np.arange(120) / 30
    shown = perform(np.random.default_rng(seed), HAPPY, times, brief=True).intensity > 0
    first, last = np.flatnonzero(shown)[[0, -1]]
    assert 0.25 - 0.07 <= times[last] - times[first] <= 1.5
    assert shown[first : last + 1].all(), "once, without a gap"


def test_a_moment_in_a_short_clip_leaves_half_of_it_calm() -> None:
    for seed in range(8):
        performance = perform(np.random.default_rng(seed), HAPPY, np.arange(20) / 40, brief=True)
        assert 0 < (performance.intensity > 0).mean() <= 0.55


def test_neutral_clips_and_stills_know_no_moment() -> None:
    for label, times in ((NEUTRAL_LABEL, np.arange(8) / 8), (HAPPY, np.zeros(1))):
        plain, brief = (perform(np.random.default_rng(3), label, times, brief=asked) for asked in (False, True))
        assert np.array_equal(plain.units, brief.units)


def test_uneven_times_rise_within_the_same_span() -> None:
    times = np.arange(40) / 10
    found = uneven(np.random.default_rng(0), times)
    steps = np.diff(found)
    assert (found[0], found[-1]) == (times[0], pytest.approx(times[-1]))
    assert steps.min() > 0
    assert steps.max() > 2 * np.median(steps), "frames that were lost"


def _clip(fake: FaceModel, cuts: float = 0.0) -> SyntheticClip:
    return FaceRenderer(fake).clip((5, 2), HAPPY, ClipSettings(frames=6, size=48, fps=4.0, degrade=0.0, cuts=cuts))


def test_a_cut_turns_the_head_once_and_landmarks_go_along(fake: FaceModel) -> None:
    whole, cut = _clip(fake), _clip(fake, cuts=1.0)
    # The first camera is the same: its draws come before.
    first = int(np.argmax((cut.head_pose != whole.head_pose).any(1)))
    assert 1 <= first <= 5
    assert np.array_equal(cut.frames[:first], whole.frames[:first])
    turned = cut.head_pose[first:] - whole.head_pose[first:]
    assert np.allclose(turned, turned[0], atol=1e-6)
    assert np.abs(turned[0]).max() > 0.01
    assert (cut.landmarks[first:] != whole.landmarks[first:]).any()
    assert np.array_equal(cut.action_units, whole.action_units), "the same performance"


def test_shares_of_zero_leave_the_job_as_it_was_and_others_are_kept(fake_path: Path, tmp_path: Path) -> None:
    plain = SyntheticClips(2, seed=1, frames=3, size=32, model=fake_path)
    assert not {"brief", "jitter", "cuts"} & plain.job().keys()
    moving = SyntheticClips(2, seed=1, frames=3, size=32, model=fake_path, brief=0.5, jitter=1.0, workers=1)
    write_clips(moving, tmp_path / "clips")
    kept = RenderedClips(tmp_path / "clips")
    for index, clip in enumerate(SyntheticClips(2, seed=1, frames=3, size=32, model=fake_path, brief=0.5, jitter=1.0)):
        assert np.array_equal(kept[index].frames, clip.frames)
    with pytest.raises(InvalidInput):
        write_clips(SyntheticClips(2, seed=1, frames=3, size=32, model=fake_path, cuts=0.5), tmp_path / "clips")


@pytest.mark.parametrize("name", ["brief", "jitter", "cuts"])
def test_a_share_is_a_share(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"expected {name} from 0.0 to 1.0, got 1.5"):
        ClipSettings(**{name: 1.5})  # type: ignore[arg-type]


def test_frames_of_rendered_clips_come_one_after_another_with_their_points(fake_path: Path, tmp_path: Path) -> None:
    set_ = SyntheticClips(4, seed=2, frames=3, size=48, fps=10.0, degrade=0.0, model=fake_path)
    write_clips(set_, tmp_path)
    plain = Crop(side=(3.0, 3.0)), Pixels()
    pixels, points, classes = next(data.with_landmarks([tmp_path], 0, 4, 0, *plain, frames=3))
    assert (pixels.shape, points.shape, classes.shape) == ((12, 3, 112, 112), (12, 68, 2), (4,))
    between = (pixels.float().view(4, 3, -1).diff(dim=1)).abs().mean((1, 2))
    others = (pixels.float().view(4, 3, -1)[:, 0].diff(dim=0)).abs().mean(1)
    assert between.max() < others.min(), "frames of a clip are alike"
    assert (points.view(4, 3, 68, 2)[:, :, 36, 0] < points.view(4, 3, 68, 2)[:, :, 45, 0]).float().mean() > 0.4
