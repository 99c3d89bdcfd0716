"""Steady output: filters, labels, events, a personal neutral."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dfer_edge.flow.postprocess import to_prediction
from dfer_edge.live.events import Events
from dfer_edge.live.neutral import PersonalNeutral
from dfer_edge.live.options import Options
from dfer_edge.live.smoothing import ExponentialFilter, HmmFilter, SteadyLabel, make_filter
from dfer_edge.live.steady import Steady
from dfer_edge.types import Box

LABELS = ("happy", "sad", "neutral")
RATE = 25


def flickering(rng: np.random.Generator, seconds: float, label: int, rival: int) -> np.ndarray:
    """Two classes that take turns at random, one ahead on average."""
    rows = np.full((int(seconds * RATE), 3), 0.1)
    rows[:, label] = 0.47 + rng.normal(0, 0.08, len(rows))
    rows[:, rival] = 0.9 - rows[:, label]
    return rows


def labels_of(rows: np.ndarray, smoothing: str) -> list[int]:
    kept, label = make_filter(smoothing, 0.1), SteadyLabel(0.1, 0.1)
    return [label.update(kept.update(row, k / RATE), k / RATE) for k, row in enumerate(rows)]


def changes(found: list[int]) -> int:
    return sum(a != b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("smoothing", ["exponential", "hmm"])
def test_flicker_is_halved_and_true_changes_come_through(smoothing: str, rng: np.random.Generator) -> None:
    calm = flickering(rng, 20, 2, 1)
    raw = changes(list(calm.argmax(1)))
    assert raw > 40
    assert changes(labels_of(calm, smoothing)) < raw / 2
    step = np.concatenate([np.tile([0.1, 0.1, 0.8], (50, 1)), np.tile([0.8, 0.1, 0.1], (50, 1))])
    found = labels_of(step, smoothing)
    assert found[:50] == [2] * 50
    assert 0 in found[50 : 50 + round(0.25 * RATE)]
    assert changes(found) == 1


def test_exponential_follows_at_its_time_constant_whatever_the_spacing() -> None:
    for times in ([0.0, 0.1], [0.0, 0.02, 0.05, 0.1]):
        kept = ExponentialFilter(0.1)
        kept.update(np.array([1.0, 0.0]), times[0])
        for time_s in times[1:]:
            found = kept.update(np.array([0.0, 1.0]), time_s)
        assert found[1] == pytest.approx(1 - np.exp(-1))


def test_a_hidden_markov_model_counts_what_is_said_again_once() -> None:
    """Ten windows within a delay are the evidence of one; the belief is what Bayes' rule gives for two states."""
    often, once = HmmFilter(0.1), HmmFilter(0.1)
    said = np.array([0.7, 0.3])
    for kept in (often, once):
        kept.update(np.array([0.5, 0.5]), 0.0)
    for k in range(1, 11):
        belief = often.update(said, k / 100)
    np.testing.assert_allclose(belief, [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose(once.update(said, 0.1), [0.7, 0.3], atol=1e-9)


def test_a_label_changes_for_a_lead_or_after_a_while() -> None:
    label = SteadyLabel(margin=0.2, hold_s=0.3)
    near, far = np.array([0.48, 0.52]), np.array([0.3, 0.7])
    assert label.update(np.array([0.9, 0.1]), 0.0) == 0
    assert [label.update(near, t) for t in (0.1, 0.2, 0.3)] == [0, 0, 0]
    assert label.update(near, 0.4) == 1
    assert label.update(1 - near, 0.5) == 1
    assert label.update(1 - far, 0.6) == 0


def test_onset_apex_and_offset() -> None:
    events = Events()
    said = [("neutral", 0.9), ("happy", 0.5), ("happy", 0.8), ("happy", 0.75), ("happy", 0.69), ("happy", 0.5)]
    said += [("sad", 0.6), ("sad", 0.6), ("neutral", 0.7), ("neutral", 0.7)]
    found = [events.update(*one) for one in said]
    assert found == [None, "onset", None, None, "apex", None, "offset", "onset", "offset", None]


def test_a_personal_neutral_takes_away_what_a_face_always_shows() -> None:
    neutral = PersonalNeutral(LABELS.index("neutral"))
    grim = np.array([0.05, 0.6, 0.35])
    found = [neutral.update(grim, k / RATE) for k in range(20 * RATE)]
    np.testing.assert_array_equal(found[0], grim)
    assert found[-1][1] == pytest.approx(found[-1][2], rel=0.02), "sad no more than neutral"
    smile = neutral.update(np.array([0.8, 0.15, 0.05]), 20.0)
    assert smile.argmax() == 0
    assert smile.sum() == pytest.approx(1)


def test_unknown_is_said_below_a_confidence_and_probabilities_stay() -> None:
    steady = Steady(Options(smoothing="off", unknown_below=0.5), LABELS)
    for probabilities, label in (([0.4, 0.35, 0.25], "unknown"), ([0.6, 0.2, 0.2], "happy")):
        values = np.array(probabilities)
        raw = to_prediction(values, LABELS, (0,), Box(0, 0, 1, 1), {}, {})
        found, _ = steady.update(raw, values, 0.0)
        assert found.label == label
        assert raw.label == "happy"
        np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-6)
