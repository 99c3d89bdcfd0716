"""Deadline mode: late results are not made, and what costs time is turned down within limits."""

from __future__ import annotations

import pytest

from dfer_edge.live.deadline import Deadline
from dfer_edge.live.options import Limits


def test_levels_go_as_far_as_the_limits() -> None:
    deadline = Deadline(50, Limits(hop_s=0.4, beat_s=1.0, precisions=("int8",)), hop_s=0.1, beat_s=0.3)
    assert [(level.hop_s, level.beat_s, level.precision) for level in deadline.levels] == [
        (0.1, 0.3, ""),
        (0.1, 0.6, ""),
        (0.1, 1.0, ""),
        (0.1, 1.0, "int8"),
        (0.2, 1.0, "int8"),
        (0.4, 1.0, "int8"),
    ]


def test_a_frame_that_would_be_late_is_not_scored() -> None:
    deadline = Deadline(50, Limits(), 0.1, 1.0)
    assert deadline.admits(0.2, 0.0), "the first one is made, whatever it costs"
    for k in range(10):
        deadline.made(0.03, 0.04, k / 10)
    assert deadline.admits(0.015, 0.95)
    assert not deadline.admits(0.025, 0.95)
    assert (deadline.skipped, deadline.late) == (1, 0)
    assert deadline.admits(0.5, 2.0), "one a second is made, however late"


def test_too_many_late_results_turn_down_and_calm_turns_up(caplog: pytest.LogCaptureFixture) -> None:
    deadline = Deadline(50, Limits(hop_s=0.4), 0.1, 1.0)
    for k in range(25):
        deadline.made(0.06, 0.07, k / 10)
    assert deadline.late == 25
    assert deadline.level.hop_s == 0.2
    assert "an observation every 0.20 s" in caplog.text
    for k in range(400):
        deadline.made(0.01, 0.02, 3 + k / 10)
    assert deadline.level.hop_s == 0.1
    assert "time to spare" in caplog.text


def test_a_hiccup_turns_nothing_down() -> None:
    deadline = Deadline(50, Limits(hop_s=0.4), 0.1, 1.0)
    for k in range(1000):
        deadline.made(0.01, 0.2 if k % 150 == 30 else 0.02, k / 10)
    assert (deadline.late, deadline.position) == (7, 0), "0.7 % came late, 99 % is promised"
    for k in range(1000, 1060):
        deadline.made(0.01, 0.2 if k % 20 == 0 else 0.02, k / 10)
    assert deadline.position == 1, "5 %"


def test_at_the_end_of_the_limits_it_goes_on() -> None:
    deadline = Deadline(50, Limits(hop_s=0.1), 0.1, 1.0)
    for k in range(100):
        deadline.made(0.06, 0.07, k / 10)
    assert deadline.position == len(deadline.levels) - 1 == 0
