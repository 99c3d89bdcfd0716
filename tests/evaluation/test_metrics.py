"""Metrics against cases worked out by hand, and against scikit-learn where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dfer_edge import InvalidInput, metrics

TRUTH = [0, 0, 0, 0, 1, 1, 2]
PROBABILITIES = [
    [0.8, 0.1, 0.1],
    [0.6, 0.3, 0.1],
    [0.3, 0.6, 0.1],
    [0.5, 0.25, 0.25],
    [0.1, 0.8, 0.1],
    [0.6, 0.4, 0.0],
    [0.1, 0.7, 0.2],
]


def test_hand_computed() -> None:
    found = metrics.measure(TRUTH, PROBABILITIES)
    # Right: 0, 1, 3, 4 of seven. Recalls 3/4, 1/2, 0.
    assert found.samples == 7
    assert found.confusion == ((3, 1, 0), (1, 1, 0), (0, 1, 0))
    assert found.war == pytest.approx(4 / 7)
    assert found.recall == pytest.approx((0.75, 0.5, 0.0))
    assert found.uar == pytest.approx(1.25 / 3)
    own = [0.8, 0.6, 0.3, 0.5, 0.8, 0.4, 0.2]
    assert found.log_loss == pytest.approx(-sum(map(math.log, own)) / 7)


def test_calibration_error_by_hand() -> None:
    # Two bins of five at 0.8 (four right) and 0.6 (none right): 4/9 of 0 and 5/9 of 0.6 with five and four samples.
    truth = [0, 0, 0, 0, 1, 1, 1, 1, 1]
    scores = [[0.8, 0.2]] * 5 + [[0.6, 0.4]] * 4
    assert metrics.expected_calibration_error(np.array(truth), np.array(scores)) == pytest.approx(4 / 9 * 0.6)
    counts, confidence, accuracy = metrics.reliability(np.array(truth), np.array(scores), bins=5)
    # Edges belong to the bin below: 0.6 is in (0.4, 0.6], 0.8 in (0.6, 0.8].
    assert counts.tolist() == [0, 0, 4, 5, 0]
    assert confidence[2:4] == pytest.approx([0.6, 0.8])
    assert accuracy[2:4] == pytest.approx([0.0, 0.8])
    assert np.isnan(accuracy[0])


def test_class_without_samples_is_none_and_not_in_the_mean() -> None:
    found = metrics.measure([0, 0, 2], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0, 0, 1]])
    assert found.recall == (0.5, None, 1.0)
    assert found.uar == pytest.approx(0.75)


def test_certain_and_wrong_is_finite() -> None:
    assert metrics.measure([0], [[0.0, 1.0]]).log_loss == pytest.approx(-math.log(1e-12))


def test_temperature_scales_logits() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    hot = np.exp(logits / 2.5)
    expected = hot / hot.sum(1, keepdims=True)
    plain = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(metrics.with_temperature(plain, 2.5), expected, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fitted_temperature_undoes_a_known_one(temperature: float, rng: np.random.Generator) -> None:
    """Truth is drawn from the probabilities, so they are calibrated; sharpening them by T must be undone by T."""
    honest = rng.dirichlet(np.ones(4), size=20_000)
    truth = (rng.random(len(honest))[:, None] > honest.cumsum(1)).sum(1)
    distorted = metrics.with_temperature(honest, 1 / temperature)
    found = metrics.fit_temperature(truth, distorted)
    assert found == pytest.approx(temperature, rel=0.05)
    after = metrics.with_temperature(distorted, found)
    assert metrics.log_loss(truth, after) <= metrics.log_loss(truth, distorted) + 1e-12
    assert metrics.expected_calibration_error(truth, after) < 0.02


def test_temperature_of_a_perfect_classifier_stays_in_range() -> None:
    assert 0.04 < metrics.fit_temperature([0, 1], [[0.9, 0.1], [0.1, 0.9]]) < 0.1


@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        ([], np.zeros((0, 3))),
        ([0], [[0.5, 0.6]]),
        ([0], [[np.nan, 1.0]]),
        ([0], [[-0.1, 1.1]]),
        ([2], [[0.5, 0.5]]),
        ([-1], [[0.5, 0.5]]),
        ([0, 1], [[0.5, 0.5]]),
        ([0.0], [[0.5, 0.5]]),
        ([0], [0.5]),
        ([0], [[1.0]]),
    ],
)
def test_nonsense_is_refused(truth: list, scores: object) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        metrics.measure(truth, scores)
    with pytest.raises(InvalidInput):
        metrics.with_temperature([[0.5, 0.5]], float("nan"))


def test_against_scikit_learn(rng: np.random.Generator) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    truth = rng.integers(0, 5, 211)
    scores = rng.dirichlet(np.ones(5), size=211)[:, ::-1]
    found = metrics.measure(truth, scores)
    predicted = scores.argmax(1)
    assert found.war == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found.uar == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    np.testing.assert_array_equal(found.confusion, reference.confusion_matrix(truth, predicted))
    assert found.log_loss == pytest.approx(reference.log_loss(truth, scores))


def test_risk_and_coverage_by_hand() -> None:
    # Confidences 0.8 right, 0.8 right, 0.7 wrong, 0.6 right, 0.6 wrong, 0.6 wrong, 0.5 right.
    found = metrics.risk_coverage(TRUTH, PROBABILITIES)
    assert found.confidence.tolist() == [0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.5]
    # Of the equal ones the wrong ones come first.
    np.testing.assert_allclose(found.risk, [0, 0, 1 / 3, 2 / 4, 3 / 5, 3 / 6, 3 / 7])
    np.testing.assert_allclose(found.coverage, np.arange(1, 8) / 7)
    assert found.area == pytest.approx(np.mean([0, 0, 1 / 3, 2 / 4, 3 / 5, 3 / 6, 3 / 7]))
    assert (found.at(0.0), found.at(0.29), found.at(0.57), found.at(1.0)) == (0, 0, 0.5, 3 / 7)
    with pytest.raises(InvalidInput):
        metrics.risk_coverage([], [])
