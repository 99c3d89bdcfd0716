"""Sampling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfer_edge import InvalidInput
from dfer_edge.clips import uniform_in_time, uniform_indices


def test_centres_of_segments() -> None:
    # 72 frames in 8 segments of 9: the middle one of each.
    assert uniform_indices(72, 8) == [4, 13, 22, 31, 40, 49, 58, 67]
    assert uniform_indices(8, 8) == list(range(8))


def test_short_clips_repeat() -> None:
    assert uniform_indices(1, 8) == [0] * 8
    assert uniform_indices(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]


def test_nothing_to_sample() -> None:
    with pytest.raises(InvalidInput):
        uniform_indices(0, 8)


@given(st.integers(1, 500), st.integers(1, 64))
def test_ascending_and_within(length: int, count: int) -> None:
    positions = uniform_indices(length, count)
    assert positions == sorted(positions)
    assert positions[0] >= 0
    assert positions[-1] < length


@given(st.integers(2, 300), st.integers(1, 32), st.sampled_from([1 / 30, 1 / 25, 1 / 23.976, 0.08]))
def test_constant_rate_in_time_is_uniform_in_index(length: int, count: int, step: float) -> None:
    # Time stamps as decoders give them: milliseconds, rounded.
    times = [round(index * step, 5) for index in range(length)]
    assert uniform_in_time(times, count) == uniform_indices(length, count)


def test_variable_rate_samples_what_is_on_screen() -> None:
    # One second at 10 a second, then one frame that stays for four seconds.
    times = [index / 10 for index in range(10)] + [1.0, 4.9]
    assert uniform_in_time(times, 5) == [5, 10, 10, 10, 10]
