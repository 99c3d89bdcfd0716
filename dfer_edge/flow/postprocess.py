"""From logits to a `Prediction`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import CorruptArtifact
from dfer_edge.types import Box, Prediction, Signals

Array = npt.NDArray[Any]

UNKNOWN = "unknown"
"""The label of what is less sure than a stated risk allows."""


def softmax(logits: Array) -> npt.NDArray[np.float64]:
    """Probabilities [B, K] of logits [B, K], in float64.

    Raises
    ------
    CorruptArtifact
        If a logit is not finite: broken weights must not become a label.
    """
    if not np.isfinite(logits).all():
        raise CorruptArtifact("expected finite logits, got NaN or infinity: weights or engine are broken")
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True), np.float64)


def to_prediction(
    probabilities: npt.NDArray[np.float64],
    labels: tuple[str, ...],
    frame_indices: tuple[int, ...],
    box: Box,
    timings_ms: Mapping[str, float],
    weights: Mapping[str, str],
    signals: Signals | None = None,
    least: float = 0.0,
) -> Prediction:
    """The `Prediction` of probabilities [K], its label unknown below the confidence ``least``; the rest are fields."""
    best = int(probabilities.argmax())
    return Prediction(
        label=labels[best] if probabilities[best] >= least else UNKNOWN,
        confidence=float(probabilities[best]),
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        frame_indices=frame_indices,
        box=box,
        timings_ms=timings_ms,
        weights=weights,
        signals=signals,
    )
