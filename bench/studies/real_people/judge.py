"""Figures of a run by set, their means over sets, and paired differences between two runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.studies.real_people.run import Row, Run
from dfer_edge import labels as label_names
from dfer_edge import metrics
from dfer_edge.errors import InvalidInput

DRAWS = 10_000
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Judged:
    """How right a run is on some samples.

    Attributes
    ----------
    samples, lost
        How many there are, and in how many no face was found.
    uar
        Mean recall of the labels that are present; lost faces are wrong.
    accuracy
        Share that is right; lost faces are wrong.
    log_loss
        Mean of -log p(label), natural; a lost face has the probability 1 / classes.
    ece
        Expected calibration error of the faces that were found, 15 bins.
    recall
        By label that is present.
    confusion
        By label that is present: counts by what was said, in the order of the labels and then lost.
    """

    samples: int
    lost: int
    uar: float
    accuracy: float
    log_loss: float
    ece: float
    recall: dict[str, float]
    confusion: dict[str, list[int]]


def judge(run: Run, rows: Sequence[Row] | None = None, frames: bool = False) -> Judged:
    """The figures of some rows of a run, all if None; ``frames``: of the mean of the frames of sequences instead.

    Raises
    ------
    InvalidInput
        If there are no rows.
    """
    rows = run.rows if rows is None else rows
    if not rows:
        raise InvalidInput(f"expected samples of {run.name}, got none")
    classes = len(run.labels)
    said = [row.frames if frames else row.probabilities for row in rows]
    truth = np.array([_position(row.label, run.labels) for row in rows])
    found = np.array([scores is not None for scores in said])
    predicted = np.array([classes if scores is None else int(np.argmax(scores)) for scores in said])
    counts = metrics.confusion(truth, predicted, classes + 1)
    recalls = metrics.recall(counts)
    scores = np.array([np.full(classes, 1 / classes) if row is None else row for row in said], np.float64)
    # Files hold six digits.
    scores /= scores.sum(1, keepdims=True)
    present = sorted(set(truth.tolist()))
    return Judged(
        samples=len(rows),
        lost=int((~found).sum()),
        uar=float(np.mean([recalls[index] for index in present])),
        accuracy=float((truth == predicted).mean()),
        log_loss=metrics.log_loss(truth, scores),
        ece=metrics.expected_calibration_error(truth[found], scores[found]) if found.any() else 0.0,
        recall={run.labels[index]: float(recalls[index]) for index in present},
        confusion={run.labels[index]: counts[index].tolist() for index in present},
    )


def _position(label: str, labels: Sequence[str]) -> int:
    index = label_names.position(label, labels)
    if index is None:
        raise InvalidInput(f"expected the label {label} among {', '.join(labels)}")
    return index


def names(rows: Iterable[Row], key: str) -> list[str]:
    """Sets or groups of rows, in the order in which they come."""
    return list(dict.fromkeys(getattr(row, key) for row in rows))


def by_set(run: Run, group: str, frames: bool = False) -> dict[str, Judged]:
    """The figures of each set of a group; with ``frames`` of its sequences alone, sets without any are left out."""
    own = [row for row in run.rows if row.group == group and (row.frames is not None or not frames)]
    return {name: judge(run, [row for row in own if row.set == name], frames) for name in names(own, "set")}


def summary(run: Run, group: str) -> dict[str, Any]:
    """Means over the sets of a group, and recalls over all of its samples."""
    sets = by_set(run, group)
    together = judge(run, [row for row in run.rows if row.group == group])
    means = {key: float(np.mean([getattr(s, key) for s in sets.values()])) for key in ("uar", "log_loss", "ece")}
    pooled = {"samples": together.samples, "lost": together.lost, "log_loss_pooled": together.log_loss}
    return {
        **means,
        **pooled,
        "ece_pooled": together.ece,
        "recall": together.recall,
        "risk_at_coverage": _risk_at_coverage(run, group),
    }


def _risk_at_coverage(run: Run, group: str) -> dict[str, float]:
    """Share of wrong labels among the most confident tenth, two tenths, ... of all faces that were found."""
    rows = [row for row in run.rows if row.group == group and row.probabilities is not None]
    if not rows:
        return {}
    scores = np.array([row.probabilities for row in rows], np.float64)
    truth = [_position(row.label, run.labels) for row in rows]
    curve = metrics.risk_coverage(truth, scores / scores.sum(1, keepdims=True))
    return {f"{tenth / 10:.1f}": curve.at(tenth / 10) for tenth in range(1, 11)}


def sequences(run: Run, group: str) -> dict[str, dict[str, float]]:
    """By set with sequences: unweighted recall of the clips, and of the mean of their frames seen as stills."""
    single = by_set(run, group, frames=True)
    found = {}
    for name, frames in single.items():
        clips = judge(run, [row for row in run.rows if row.set == name and row.frames is not None])
        found[name] = {"clip_uar": clips.uar, "frames_uar": frames.uar, "gain": clips.uar - frames.uar}
    return found


def paired(first: Run, second: Run, group: str, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Difference of the mean UAR of two runs on the same samples, with a bootstrap over the samples of each label.

    Returns
    -------
    ``difference`` of ``second`` to ``first`` in the mean over sets, its 95 % interval ``low``, ``high``, the share of
    draws at or below zero ``not_better``, and ``samples``

    Raises
    ------
    InvalidInput
        If the two have no set in common, or other samples in one.
    """
    mine, theirs = _right(first, group), _right(second, group)
    shared = [name for name in mine if name in theirs]
    if not shared:
        raise InvalidInput(f"expected a set that both {first.name} and {second.name} have, got none")
    random = np.random.default_rng(seed)
    exact, drawn, count = [], [], 0
    for name in shared:
        if mine[name].keys() != theirs[name].keys() or any(
            mine[name][label].keys() != theirs[name][label].keys() for label in mine[name]
        ):
            raise InvalidInput(f"expected the same samples of {name} in {first.name} and {second.name}")
        means, samples = [], []
        for label, own in mine[name].items():
            change = np.array([theirs[name][label][key] - right for key, right in own.items()], np.float64)
            means.append(change.mean())
            samples.append(change[random.integers(len(change), size=(draws, len(change)))].mean(1))
            count += len(change)
        exact.append(np.mean(means))
        drawn.append(np.mean(samples, axis=0))
    spread: Floats = np.mean(drawn, axis=0)
    low, high = np.percentile(spread, (2.5, 97.5))
    return {
        "difference": float(np.mean(exact)),
        "low": float(low),
        "high": float(high),
        "not_better": float((spread <= 0).mean()),
        "samples": count,
    }


def _right(run: Run, group: str) -> dict[str, dict[str, dict[str, int]]]:
    """Set -> label -> name -> whether it was right."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row in run.rows:
        if row.group == group:
            said = row.probabilities is not None and int(np.argmax(row.probabilities)) == _position(
                row.label, run.labels
            )
            label = label_names.canonical(row.label)
            found.setdefault(row.set, {}).setdefault(label, {})[row.name] = int(said)
    return found
