"""Which frames a causal window takes."""

from __future__ import annotations

import numpy as np
import pytest

from dfer_edge.live.history import Glimpse, History, Sampling, frames_of
from tests.live.fakes import HERE

CROP = np.zeros((4, 4, 3), np.uint8)


def history(times_s: list[float], sampling: Sampling) -> History:
    seen = History(sampling)
    for index, time_s in enumerate(times_s):
        seen.add(Glimpse(index, time_s, HERE, CROP))
    return seen


def indices(seen: History) -> list[int]:
    return [glimpse.index for glimpse in frames_of(seen.window())]


def test_the_newest_frame_is_always_in_and_frames_are_a_segment_apart() -> None:
    sampling = Sampling(steps=4, frames_per_step=1, interval_s=0.5)
    assert indices(history([k / 10 for k in range(30)], sampling)) == [14, 19, 24, 29]
    assert indices(history([k / 10 for k in range(31)], sampling)) == [15, 20, 25, 30]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (4, [0, 1, 2, 3]), (7, [0, 2, 4, 6])]
)
def test_who_just_came_is_sampled_over_the_time_there(count: int, expected: list[int]) -> None:
    assert indices(history([k / 10 for k in range(count)], Sampling(4, 1, 0.5))) == expected


def test_frames_of_a_step_depend_on_its_last_frame_alone() -> None:
    """Whatever window a step is part of: its features may be kept."""
    sampling = Sampling(steps=3, frames_per_step=2, interval_s=0.2)
    seen, pairs = History(sampling), {}
    rng = np.random.default_rng(1)
    times = np.arange(60) / 10 + rng.uniform(0, 0.04, 60)
    for index, time_s in enumerate(times):
        seen.add(Glimpse(index, float(time_s), HERE, CROP))
        for step in seen.window():
            pair = tuple(glimpse.index for glimpse in step.glimpses)
            assert pairs.setdefault(pair[1], pair) == pair
        assert seen.window()[-1].newest.index == index
    assert pairs[40] == (38, 40)


@pytest.mark.parametrize("rate", [10, 30, 240])
def test_memory_does_not_grow_with_time_or_rate(rate: int) -> None:
    sampling = Sampling(steps=4, frames_per_step=1, interval_s=0.5)
    seen = history([k / rate for k in range(20 * rate)], sampling)
    assert len(seen) <= 4 * 8 + 2
    times = np.array(indices(seen)) / rate
    # Never further from its moment than a 16th of a step, and half a frame.
    np.testing.assert_allclose(times - times[-1], [-1.5, -1, -0.5, 0], atol=0.5 / 16 + 0.5 / rate)


def test_gaps_repeat_what_is_nearest() -> None:
    times = [0.0, 0.1, 0.2, 1.4, 1.5]
    assert indices(history(times, Sampling(4, 1, 0.5))) == [0, 2, 3, 4]
