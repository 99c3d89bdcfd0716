"""Which frames windows take so that overlapping ones share their steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from dfer_edge.inference.parts import Streaming
from dfer_edge.models import registry
from dfer_edge.pipeline import Windower, WindowPlan
from dfer_edge.sources import Source
from dfer_edge.stopwatch import Stopwatch
from tests.test_step_cache import HERE, ONE, Film, Script
from tests.test_streaming import NAMES


def chosen(name: str, film: Source, people: Any, plan: WindowPlan) -> list[tuple[float, float, tuple[int, ...]]]:
    entry = registry.find(name)
    plan = dataclasses.replace(plan, step_frames=entry.frames_per_step)
    windows = Windower(entry.spec, plan, Stopwatch()).windows(film, Script(people))
    return [(w.start_s, w.end_s, w.clips[0].frame_indices) for w in windows if 0 in w.clips]


@pytest.mark.parametrize("plan", [WindowPlan(4.0, 0.5), WindowPlan(4.0, 1.0), WindowPlan(4.0, 0.3), WindowPlan(3, 0.7)])
@pytest.mark.parametrize("name", NAMES)
def test_windows_share_their_steps_whatever_the_clock(
    name: str, plan: WindowPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Windower, "_crop", lambda self, image, box: image)
    film, streaming = Film(400, late_s=0.09), Streaming.of(registry.find(name).spec)
    frames, known, new = streaming.frames_per_step, set(), []
    *cut, _ = chosen(name, film, ONE, plan)
    for start_s, end_s, indices in cut:
        times_s = film._times_s[list(indices)]
        assert times_s[-1] < end_s
        assert times_s[0] >= start_s - plan.hop_s
        steps = {indices[first : first + frames] for first in range(0, streaming.steps * frames, frames)}
        new.append(len(steps - known))
        known |= steps
    # A hop of n steps brings n new ones, and at most one more where it is no whole number of steps.
    step_s = plan.window_s * frames / registry.find(name).spec.frames
    is_whole = np.isclose(plan.hop_s / step_s % 1, 0)
    assert np.mean(new[10:]) <= 1.1 * (plan.hop_s / step_s + (not is_whole))


def test_who_comes_or_goes_is_sampled_over_the_time_there() -> None:
    plan = WindowPlan(4.0, 0.5)
    cut = chosen("slowr50_sa", Film(100), {0: lambda index: HERE if 20 <= index < 60 else None}, plan)
    entering = next(indices for start_s, _, indices in cut if start_s == 0)
    assert entering == (21, 23, 26, 28, 31, 33, 36, 38)
    whole = next(indices for start_s, _, indices in cut if start_s == 2)
    assert whole == (22, 27, 32, 37, 42, 47, 52, 57)
    leaving = next(indices for start_s, _, indices in cut if start_s == 4)
    assert leaving == (41, 43, 46, 48, 51, 53, 56, 58)
