"""Report: what int8 changed, on clips that were not used for calibration."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.calibration.clip_set import ClipSet, Feed, Progress
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.placement import plan
from dfer_edge.calibration.ranges import Observer
from dfer_edge.engines.base import Engine
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.flow.postprocess import softmax
from dfer_edge.inference.parts import LOGITS

FloatArray = npt.NDArray[np.float64]

# How many of the clips that changed most are named.
_WORST = 10


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two engines of one network on the same clips.

    Attributes
    ----------
    clips
        How many.
    top1_agreement
        Share of clips with the same label, 0 to 1.
    mean_probability_difference, max_probability_difference
        Of the absolute differences of all probabilities.
    labels_seen
        Distinct labels of the reference: agreement on clips of one label says little.
    recall_delta
        Label -> recall of the candidate minus that of the reference; against true labels where given, else
        against the reference's own.
    uar_delta
        Mean of ``recall_delta``, in points of 0 to 100.
    worst
        The clips that changed most: number, difference, labels.
    truth
        What recalls are against: ``labels`` or ``reference``.
    """

    clips: int
    top1_agreement: float
    mean_probability_difference: float
    max_probability_difference: float
    labels_seen: int
    recall_delta: Mapping[str, float]
    uar_delta: float
    worst: tuple[Mapping[str, Any], ...]
    truth: str

    @property
    def drop(self) -> float:
        """Points lost, 0 to 100: of UAR with true labels, else of agreement."""
        return 0.0 - self.uar_delta if self.truth == "labels" else 100 * (1 - self.top1_agreement)


def probabilities(engine: Engine, clips: Sequence[Feed] | ClipSet, progress: Progress | None = None) -> FloatArray:
    """[clips, K]; of an image network the mean over a clip's frames. Raises as :func:`finite_logits`."""
    rows = []
    for number, feed in enumerate(clips):
        rows.append(softmax(finite_logits(engine, feed, number)).mean(0))
        if progress:
            progress(number + 1, len(clips))
    return np.stack(rows).astype(np.float64)


def finite_logits(engine: Engine, feed: Feed, number: int) -> npt.NDArray[np.float32]:
    """Logits [B, K] of clip ``number``.

    Raises
    ------
    InvalidInput
        If one of them is NaN or infinite: nothing can be compared with it.
    """
    logits = engine.infer(feed)[LOGITS]
    if not np.isfinite(logits).all():
        what = f"{engine.name} in {engine.options.precision} on clip {number}"
        raise InvalidInput(f"expected finite {LOGITS}, got NaN or infinity from {what}")
    return logits


def compare(
    reference: FloatArray, candidate: FloatArray, labels: Sequence[str], truth: Sequence[int] | None = None
) -> Comparison:
    """What changed between two sets of probabilities [clips, K].

    Raises
    ------
    CalibrationError
        For no clips, or sets of two shapes.
    """
    if reference.shape != candidate.shape or not len(reference):
        raise CalibrationError(f"expected equal shapes with clips, got {reference.shape} and {candidate.shape}")
    was, now = reference.argmax(1), candidate.argmax(1)
    real = was if truth is None else np.asarray(truth)
    if real.shape != was.shape:
        raise CalibrationError(f"expected a label for each of {len(was)} clips, got {len(real)}")
    recalls = {
        label: float((now[real == k] == k).mean() - (was[real == k] == k).mean())
        for k, label in enumerate(labels)
        if (real == k).any()
    }
    difference = np.abs(candidate - reference)
    order = np.argsort(-difference.max(1), kind="stable")[:_WORST]
    worst = tuple(
        {"clip": int(n), "difference": float(difference[n].max()), "was": labels[was[n]], "is": labels[now[n]]}
        for n in order
    )
    return Comparison(
        clips=len(was),
        top1_agreement=float((was == now).mean()),
        mean_probability_difference=float(difference.mean()),
        max_probability_difference=float(difference.max()),
        labels_seen=len(np.unique(was)),
        recall_delta=recalls,
        uar_delta=100 * float(np.mean(list(recalls.values()))),
        worst=worst,
        truth="reference" if truth is None else "labels",
    )


def layer_snr(
    float_path: Path,
    quantised_path: Path,
    clips: Sequence[Feed],
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Signal-to-noise ratio in dB of each layer's output, float against quantised, in order of the network.

    Noise is what all layers up to there added. Infinite ratios, which equal outputs have, are given as 200 dB.
    """
    index, quantised = GraphIndex(read(float_path), float_path), GraphIndex(read(quantised_path), quantised_path)
    layers = {layer.node: layer.name for layer in plan(index).layers if layer.node in quantised.producers}
    signal, noise = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    with (
        Observer(float_path, index, list(layers), threads) as first,
        Observer(quantised_path, quantised, list(layers), threads, simulate=True) as second,
    ):
        for number, feed in enumerate(clips):
            for (tensor, expected), (_, actual) in zip(first.run(feed), second.run(feed), strict=True):
                signal[tensor] += float(np.square(expected, dtype=np.float64).sum())
                noise[tensor] += float(np.square(actual - expected, dtype=np.float64).sum())
            if progress:
                progress(number + 1, len(clips))
    return {name: _decibel(signal[tensor], noise[tensor]) for tensor, name in layers.items()}


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return 200.0
    return 10 * math.log10(signal / noise) if signal else 0.0


@dataclasses.dataclass(frozen=True)
class Report:
    """All that is known about one quantised network; see :mod:`dfer_edge.calibration.report_files`.

    Attributes
    ----------
    model, weights, method, scheme
        What was quantised and how.
    engine
        Where int8 ran; ONNX Runtime simulates it.
    calibration_clips
        Clips that made the ranges; none of them is in ``comparison``.
    comparison
        Of int8 and fp32.
    snr_db
        Layer -> ratio.
    layers
        Layer, kind, reason.
    curve
        Exclusions tried and what was left of the drop, if a search was made.
    """

    model: str
    weights: str
    method: str
    scheme: str
    engine: str
    calibration_clips: int
    comparison: Comparison
    snr_db: Mapping[str, float]
    layers: Sequence[Mapping[str, str]]
    curve: Sequence[Mapping[str, Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return dataclasses.asdict(self)
