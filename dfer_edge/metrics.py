"""Metrics of the field, in numpy. Truth is a class index a sample, probabilities are [N, K] that sum to 1 a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# A probability of 0 for what is true would make the log loss infinite; float32 cannot hold much less than this.
SMALLEST = 1e-12
# Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, use 15 bins.
BINS = 15


@dataclasses.dataclass(frozen=True)
class Metrics:
    """How predictions of N samples over K classes fare.

    Attributes
    ----------
    samples
        N, with those lost.
    lost
        Samples without a prediction, because no face was found: wrong, but in neither ``confusion`` nor what is said of
        probabilities.
    war
        Weighted average recall: the share of samples that are right, "accuracy".
    uar
        Unweighted average recall: the mean of ``recall`` over the classes that have samples.
    recall
        By class, None for a class without samples.
    confusion
        int [K][K]: rows are true classes, columns predicted ones.
    log_loss
        Mean of -log p(true), natural logarithm.
    ece
        Expected calibration error, 0 to 1.
    """

    samples: int
    lost: int
    war: float
    uar: float
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    log_loss: float
    ece: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        lists = {"recall": list(self.recall), "confusion": [list(row) for row in self.confusion]}
        return {**dataclasses.asdict(self), **lists}


def measure(truth: npt.ArrayLike, probabilities: npt.ArrayLike, lost: Sequence[int] = ()) -> Metrics:
    """All metrics at once.

    Parameters
    ----------
    truth, probabilities
        Class indices [N] and rows [N, K].
    lost
        Class indices of further samples that have no prediction, because no face was found in them: wrong ones in
        ``war``, ``uar`` and ``recall``.

    Raises
    ------
    InvalidInput
        For no samples, lengths that differ, class indices out of range or rows that are no probabilities.
    """
    labels, scores = checked(truth, probabilities)
    counts = confusion(labels, scores.argmax(1), scores.shape[1])
    without = np.bincount(np.asarray(lost, np.int64), minlength=scores.shape[1])
    recalls = recall(counts, without)
    return Metrics(
        samples=len(labels) + len(lost),
        lost=len(lost),
        war=float(np.trace(counts) / (counts.sum() + len(lost))),
        uar=float(np.nanmean(recalls)),
        recall=tuple(None if np.isnan(value) else float(value) for value in recalls),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        log_loss=log_loss(labels, scores),
        ece=expected_calibration_error(labels, scores),
    )


def checked(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Counts, Floats]:
    """Truth int64 [N] and probabilities float64 [N, K], or InvalidInput."""
    labels, scores = np.asarray(truth), np.asarray(probabilities, np.float64)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not labels.size or scores.shape[1] < 2:
        raise InvalidInput(f"expected truth [N] and probabilities [N, K], got {labels.shape} and {scores.shape}")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InvalidInput(f"expected class indices below {scores.shape[1]}, got {labels.dtype} {labels.min()} and up")
    # NaN fails the first comparison; float32 rows of a hundred classes add up to 1 within 1e-5.
    if not (scores >= 0).all() or not np.allclose(scores.sum(1), 1, atol=1e-4):
        raise InvalidInput("expected probabilities of at least 0 that add up to 1 in every row")
    return labels.astype(np.int64), scores


def confusion(truth: Counts, predicted: npt.NDArray[Any], classes: int) -> Counts:
    """Counts [K, K]: rows are true classes, columns predicted ones."""
    cells = np.bincount(np.asarray(truth) * classes + np.asarray(predicted), minlength=classes * classes)
    return np.asarray(cells.reshape(classes, classes), np.int64)


def recall(counts: Counts, lost: Counts | None = None) -> Floats:
    """Recall [K] of a confusion matrix and ``lost`` [K] samples without a prediction; NaN for classes without any."""
    totals = counts.sum(1) if lost is None else counts.sum(1) + lost
    return np.asarray(np.where(totals > 0, np.diag(counts) / np.maximum(totals, 1), np.nan), np.float64)


def log_loss(truth: Counts, probabilities: Floats) -> float:
    """Mean of -log p(true); probabilities below 1e-12 count as that."""
    own = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(own, SMALLEST)).mean())


def reliability(truth: Counts, probabilities: Floats, bins: int = BINS) -> tuple[Counts, Floats, Floats]:
    """Samples, mean confidence and accuracy [bins] of equal bins of confidence; NaN in bins without samples.

    Bin b holds confidences above b / bins up to and including (b + 1) / bins.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    some = np.where(counts > 0, counts, np.nan)
    means = (np.bincount(index, values, bins) / some for values in (confidence, right.astype(np.float64)))
    mean_confidence, accuracy = means
    return counts.astype(np.int64), mean_confidence, accuracy


def expected_calibration_error(truth: Counts, probabilities: Floats, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over the bins of :func:`reliability`, weighted by samples."""
    counts, confidence, accuracy = reliability(truth, probabilities, bins)
    gaps = np.where(counts > 0, np.abs(confidence - accuracy), 0)
    return float((gaps * counts).sum() / counts.sum())


@dataclasses.dataclass(frozen=True)
class RiskCoverage:
    """What is wrong among the most confident, as more and more are taken: float64 [N] each, most confident first.

    Attributes
    ----------
    coverage
        Share of the samples that are taken.
    risk
        Share of those that is wrong.
    confidence
        The least among those.
    """

    coverage: Floats
    risk: Floats
    confidence: Floats

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC: Geifman, Uziel and El-Yaniv, ICLR 2019); lower is better."""
        return float(self.risk.mean())

    def at(self, coverage: float) -> float:
        """Risk of the most confident share ``coverage`` of the samples, at least one."""
        return float(self.risk[max(0, min(len(self.risk), round(coverage * len(self.risk))) - 1)])


def risk_coverage(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> RiskCoverage:
    """The curve of selective classification; of equal confidences the wrong ones come first.

    Raises
    ------
    InvalidInput
        As :func:`measure`.
    """
    labels, scores = checked(truth, probabilities)
    confidence, wrong = scores.max(1), scores.argmax(1) != labels
    order = np.lexsort((~wrong, -confidence))
    taken = np.arange(1, len(labels) + 1)
    return RiskCoverage(taken / len(labels), np.cumsum(wrong[order]) / taken, confidence[order])


def with_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """``softmax(log p / temperature)``: the same as dividing the logits; above 1 is less sure.

    Raises
    ------
    InvalidInput
        If the temperature is not positive and finite.
    """
    if not (temperature > 0 and np.isfinite(temperature)):
        raise InvalidInput(f"expected a positive temperature, got {temperature!r}")
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), SMALLEST)) / temperature
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True), np.float64)


def fit_temperature(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """The temperature of the least log loss, within 0.05 to 20: fit it on one split, apply it to another.

    The log loss is convex in 1 / temperature, so that a golden-section search finds its only minimum.
    """
    labels, scores = checked(truth, probabilities)

    def loss(inverse: float) -> float:
        return log_loss(labels, with_temperature(scores, 1 / inverse))

    low, high, ratio = 0.05, 20.0, (5**0.5 - 1) / 2
    while high - low > 1e-6 * high:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return 2 / (low + high)
