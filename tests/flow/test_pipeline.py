"""Windows: bounds, tails, gaps, memory, who wins."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from dfer_edge.flow.clips import uniform_indices
from dfer_edge.flow.pipeline import MOST_A_FRAME, WholeFrame, Window, Windower, WindowPlan
from dfer_edge.inference import registry
from dfer_edge.sources.frames import Source
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Box, Frame, TrackedFace

SPEC = registry.find("slowr50_sa").spec
RATE = 10


class Clock(Source):
    """``count`` small frames at 10 a second, held by nobody."""

    name = "clock"

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(np.full((16, 16, 3), i % 256, np.uint8), i, i / RATE) for i in range(self._count))


class Script:
    """A tracker that says who is in which frame."""

    def __init__(self, people: dict[int, range]) -> None:
        self._people = people

    def track(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        for frame in frames:
            here = [track_id for track_id, when in self._people.items() if frame.index in when]
            yield frame, tuple(TrackedFace(track_id, Box(0, 0, 16, 16)) for track_id in here)


def windows(count: int, people: dict[int, range] | None = None, window_s: float = 1.0, hop_s: float = 1.0) -> list:
    windower = Windower(SPEC, WindowPlan(window_s, hop_s), Stopwatch())
    return list(windower.windows(Clock(count), Script(people or {0: range(count)})))


def test_short_source_is_one_window_of_all() -> None:
    (only,) = windows(7)
    assert only.start_s == 0
    assert only.clips[0].frame_indices == (0, 1, 2, 3, 3, 4, 5, 6)


def test_long_source_is_cut_and_the_tail_is_whole() -> None:
    cut = windows(26)
    assert [(round(w.start_s, 1), round(w.end_s, 1)) for w in cut] == [(0, 1), (1, 2), (1.5, 2.5)]
    assert cut[1].clips[0].frame_indices[0] >= 10
    assert cut[2].seen == {0: 11}


def test_a_sliver_at_the_end_is_dropped() -> None:
    assert [round(w.end_s, 1) for w in windows(22)] == [1, 2]


def test_overlapping_windows_of_a_stream() -> None:
    cut = windows(21, window_s=1.0, hop_s=0.5)
    assert [round(w.end_s, 1) for w in cut[:3]] == [1.0, 1.5, 2.0]
    assert cut[1].clips[0].frame_indices[0] == 5


def test_longest_track_wins_a_single_window() -> None:
    people = {0: range(0, 4), 1: range(2, 9)}
    plan = WindowPlan(1.0, 1.0, longest_only=True)
    (only,) = Windower(SPEC, plan, Stopwatch()).windows(Clock(9), Script(people))
    assert list(only.clips) == [1]
    assert only.seen == {0: 4, 1: 7}
    (everyone,) = windows(9, people)
    assert list(everyone.clips) == [0, 1]


def test_flickers_are_not_people() -> None:
    first, *_ = windows(20, {0: range(0, 20), 1: range(3, 4)})
    assert list(first.clips) == [0]


def test_windows_without_faces_have_no_clips() -> None:
    cut = windows(30, {0: range(0, 10)})
    assert [sorted(w.clips) for w in cut] == [[0], [], []]


def test_memory_is_bounded_by_two_windows() -> None:
    windower = Windower(SPEC, WindowPlan(1.0, 1.0), Stopwatch())
    for _ in windower.windows(Clock(200), Script({0: range(200)})):
        assert len(windower._people[0]) <= 2 * RATE + 1


LIMIT = MOST_A_FRAME * SPEC.frames


def whole(count: int, people: dict[int, range] | None = None) -> tuple[Window, list[int]]:
    """The one window of all, and the most crops that were held of anyone, frame by frame."""
    windower = Windower(SPEC, WindowPlan(math.inf, math.inf), Stopwatch())
    held: list[int] = []

    class Watched(Script):
        def track(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
            for pair in super().track(frames):
                yield pair
                held.append(max(map(len, windower._people.values()), default=0))

    (only,) = windower.windows(Clock(count), Watched(people or {0: range(count)}))
    return only, held


@pytest.mark.parametrize("count", [1, 7, LIMIT - 1, LIMIT])
def test_one_window_of_all_is_exact_up_to_its_limit(count: int) -> None:
    only, held = whole(count)
    assert only.clips[0].frame_indices == tuple(uniform_indices(count, SPEC.frames))
    assert held == list(range(1, count + 1))


@pytest.mark.parametrize("count", [LIMIT + 1, 2 * LIMIT, 2 * LIMIT + 1, 5 * LIMIT + 3])
def test_one_window_of_all_holds_no_more_frames_the_longer_it_is(count: int) -> None:
    only, held = whole(count)
    assert LIMIT // 2 <= max(held[LIMIT:]) <= LIMIT
    exact = np.array(uniform_indices(count, SPEC.frames))
    segment = count / SPEC.frames
    assert np.abs(np.array(only.clips[0].frame_indices) - exact).max() <= segment / 32
    assert only.seen == {0: count}


def test_thinned_people_are_compared_by_the_frames_they_were_in() -> None:
    """Who was seen three times as long wins, though fewer of their frames are held."""
    first, second = range(2 * LIMIT + 2), range(2 * LIMIT + 2, 2 * LIMIT + 2 + LIMIT * 3 // 4)
    only, _ = whole(second.stop, {0: first, 1: second, 2: range(5, 8)})
    assert only.seen == {0: len(first), 1: len(second)}


def test_whole_frame_tracker() -> None:
    frame = Frame(np.zeros((20, 30, 3), np.uint8), 4)
    ((_, faces),) = WholeFrame().track([frame])
    assert faces == (TrackedFace(0, Box(0, 0, 30, 20)),)


def test_landmarks_follow_the_crop() -> None:
    """A point in the middle of the face box is in the middle of the crop, whatever the crop's scale."""
    spec = registry.find("slowr50_sa").spec
    points = np.full((12, 68, 2), 7.5, np.float32)
    windower = Windower(spec, WindowPlan(9.0, 9.0), Stopwatch(), landmarks=points)
    (only,) = windower.windows(Clock(12), Script({0: range(12)}))
    assert only.clips[0].landmarks.shape == (8, 68, 2)
    np.testing.assert_allclose(only.clips[0].landmarks, (spec.size - 1) / 2, atol=1e-3)


def test_stopwatch_counts_nested_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 3.0, 6.0, 10.0, 20.0])
    monkeypatch.setattr("dfer_edge.system.stopwatch.time.perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    with watch.stage("outer"), watch.stage("inner"):
        pass
    assert watch.milliseconds() == {"outer": (2 + 4) * 1e3, "inner": 3e3, "total": 20e3}


def test_a_lap_counts_from_the_lap_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 20.0, 27.0])
    monkeypatch.setattr("dfer_edge.system.stopwatch.time.perf_counter", lambda: next(ticks))
    watch = Stopwatch()
    with watch.stage("engine"):
        pass
    assert watch.lap() == {"engine": 2e3, "total": 6e3}
    with watch.stage("engine"):
        pass
    assert watch.lap() == {"engine": 5e3, "total": 14e3}
    assert watch.milliseconds() == {"engine": 7e3, "total": 27e3}
