"""Honest confidence: what comes with weights to turn logits into probabilities, and to say "unknown".

A temperature (Guo et al., "On calibration of modern neural networks", ICML 2017) and class priors are fitted on data
that looks like the field, and stored in the metadata of the weights beside a table of risk against confidence
(selective classification: El-Yaniv and Wiener, JMLR 11, 2010). They travel in every export and are applied in one
place, whatever the engine. Weights without them keep their probabilities to the bit.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge import metrics
from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.flow.postprocess import Array, softmax

NOTE = "confidence"
"""Key of the note in a weights file; ``dfer_edge.confidence`` in an ONNX file."""

RISKS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
# A risk is stated over at least so many samples.
_LEAST_SAMPLES = 30
_STEPS, _RATE, _RIDGE = 2000, 0.5, 1e-3
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Confidence:
    """How logits become probabilities, and what they are worth.

    Attributes
    ----------
    temperature
        Logits are divided by it.
    prior
        Factor of each class's probability, before they are made to add up to 1; empty for none.
    risk
        Pairs (share of wrong labels among all that are at least so confident, that confidence), both ascending in risk
        and descending in confidence; empty if nobody measured it.
    """

    temperature: float = 1.0
    prior: tuple[float, ...] = ()
    risk: tuple[tuple[float, float], ...] = ()

    def probabilities(self, logits: Array) -> Floats:
        """Probabilities [B, K] of logits [B, K].

        Raises
        ------
        CorruptArtifact
            If a logit is not finite, or the priors are of another number of classes.
        """
        if self.prior and len(self.prior) != logits.shape[-1]:
            raise CorruptArtifact(f"expected priors of {logits.shape[-1]} classes, got {len(self.prior)}")
        if self.temperature != 1.0:
            logits = logits.astype(np.float64) / self.temperature
        if self.prior:
            logits = logits.astype(np.float64) + np.log(self.prior)
        return softmax(logits)

    def least(self, risk: float) -> float:
        """The confidence below which a label is unknown, if at most the share ``risk`` of the labels may be wrong.

        Raises
        ------
        InvalidInput
            If the risk is no number between 0 and 1, the weights state none, or none as low.
        """
        if isinstance(risk, bool) or not isinstance(risk, (int, float)) or not 0 < risk < 1:
            raise InvalidInput(f"expected a risk between 0 and 1, got {risk!r}")
        if not self.risk:
            hint = "dfer_edge.confidence.fit on labelled data makes the table"
            raise InvalidInput("expected weights that state risk against confidence, these do not", hint)
        kept = [confidence for stated, confidence in self.risk if stated <= risk]
        if not kept:
            raise InvalidInput(
                f"expected a risk of at least {self.risk[0][0]}, the lowest that was measured; got {risk}"
            )
        return kept[-1]

    def to_json(self) -> str:
        """Text for the metadata of weights."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Confidence:
        """Inverse of :meth:`to_json`; empty text is the default.

        Raises
        ------
        CorruptArtifact
            If the text is none, or its numbers cannot be.
        """
        if not text:
            return cls()
        try:
            fields: dict[str, Any] = json.loads(text)
            risk = tuple((float(stated), float(least)) for stated, least in fields.pop("risk"))
            found = cls(float(fields.pop("temperature")), tuple(map(float, fields.pop("prior"))), risk)
            if fields:
                raise ValueError(f"{next(iter(fields))} is unknown")
            found._check()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptArtifact(f"expected temperature, prior and risk in the metadata, got {text[:80]!r}") from error
        return found

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Confidence:
        """Of an engine's metadata."""
        return cls.from_json(metadata.get(f"dfer_edge.{NOTE}", ""))

    def _check(self) -> None:
        numbers = (self.temperature, *self.prior)
        if not all(math.isfinite(number) and number > 0 for number in numbers):
            raise ValueError("temperature and priors are positive")
        if not all(0 <= value <= 1 for pair in self.risk for value in pair) or list(self.risk) != sorted(self.risk):
            raise ValueError("risks ascend from 0 to 1")


def fit(truth: npt.ArrayLike, probabilities: npt.ArrayLike, prior: bool = False) -> Confidence:
    """The temperature, and priors on request, of the least log loss, and the table of risk after them.

    Parameters
    ----------
    truth
        Class indices [N].
    probabilities
        [N, K] of a network without either; data that is neither trained nor judged on.
    prior
        Also fit a factor for each class.

    Raises
    ------
    InvalidInput
        As :func:`dfer_edge.metrics.checked`.
    """
    labels, scores = metrics.checked(truth, probabilities)
    logits = np.log(np.maximum(scores, metrics.SMALLEST))
    if prior:
        inverse, bias = _with_prior(labels, logits)
        found = Confidence(1 / inverse, tuple(np.exp(bias - bias.mean()).tolist()))
    else:
        found = Confidence(metrics.fit_temperature(labels, scores))
    return dataclasses.replace(found, risk=risk_table(labels, found.probabilities(logits)))


def _with_prior(labels: npt.NDArray[np.int64], logits: Floats) -> tuple[float, Floats]:
    """Inverse temperature and bias [K] of the least log loss, by gradient descent: it is convex in both."""
    wanted = np.eye(logits.shape[1])[labels]
    inverse, bias = 1.0, np.zeros(logits.shape[1])
    spread = max(float(logits.var()), 1e-6)
    for _ in range(_STEPS):
        wrong = softmax(inverse * logits + bias) - wanted
        bias = bias - _RATE * (wrong.mean(0) + _RIDGE * bias)
        inverse = max(0.05, inverse - _RATE / spread * float((wrong * logits).sum(1).mean()))
    return inverse, bias


def risk_table(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[tuple[float, float], ...]:
    """For each of :data:`RISKS` that can be kept over 30 samples: the least confidence that keeps it."""
    curve = metrics.risk_coverage(truth, probabilities)
    table = []
    for risk in RISKS:
        kept = np.flatnonzero((curve.risk <= risk) & (np.arange(1, len(curve.risk) + 1) >= _LEAST_SAMPLES))
        if kept.size:
            table.append((risk, float(curve.confidence[kept[-1]])))
    return tuple(table)


def annotate(source: str | Path, out: str | Path, confidence: Confidence) -> Path:
    """Copy a weights file with another confidence in its metadata; tensors and spec, and so their hashes, stay.

    Raises
    ------
    WeightsNotFound, CorruptArtifact, InvalidInput
        As :func:`dfer_edge.weights.load` and :func:`dfer_edge.weights.write`; InvalidInput for priors of another number
        of classes.
    """
    from dfer_edge.weights import file as weights

    classes: Sequence[str] = weights.load(source).spec.labels
    if confidence.prior and len(confidence.prior) != len(classes):
        raise InvalidInput(f"expected priors of {len(classes)} classes, got {len(confidence.prior)}")
    return weights.rewrite_notes(source, out, {NOTE: confidence.to_json()})
