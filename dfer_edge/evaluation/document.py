"""The evaluation as one JSON document: every figure, every prediction, and where they come from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import metrics
from dfer_edge.errors import CorruptArtifact
from dfer_edge.evaluation.data import DataSet
from dfer_edge.evaluation.jitter import Jitter
from dfer_edge.evaluation.run import Column, together
from dfer_edge.sinks import note_on
from dfer_edge.system.provenance import versions
from dfer_edge.system.whole_files import write_text

SCHEMA = "dfer_edge.evaluation/1"


def document(
    columns: Sequence[Column], data: DataSet, jitter: Jitter | None = None, fitted: Sequence[Column] = (), fit: str = ""
) -> dict[str, Any]:
    """Everything about an evaluation, JSON-safe.

    Parameters
    ----------
    columns
        Of ``data``, by engine and precision; agreement is counted against the first.
    data, jitter
        What was evaluated on, and how boxes were moved.
    fitted
        The same columns on another split, named ``fit``, on which the temperature of each is fitted.

    Raises
    ------
    InvalidInput
        If the columns share no sample.
    """
    shared = together(columns)
    first = shared[0]
    temperatures = [_temperature(column) for column in fitted] if fitted else [None] * len(shared)
    info = columns[0].info
    return {
        "schema": SCHEMA,
        "provenance": versions(),
        "model": info["model"],
        "weights": info["weights"],
        "simplifications": info["simplifications"],
        "note": note_on(info["weights"]["name"]),
        "labels": list(data.labels),
        "data": _data(columns, data, first),
        "protocol": {
            "stills": "each repeated as a clip",
            "faces": {"detected": len(first.scored) - columns[0].cropped, "face crops": columns[0].cropped},
            **{key: info[key] for key in ("detector", "face_box", "landmark_detector")},
            "jitter": dataclasses.asdict(jitter) if jitter else None,
            "temperature_fitted_on": fit or None,
        },
        "columns": [
            _column(column, first, temperature) for column, temperature in zip(shared, temperatures, strict=True)
        ],
        "predictions": [
            {
                "name": sample.name,
                "label": data.labels[sample.truth],
                "probabilities": {c.name: _rounded(c.probabilities[index]) for c in shared},
            }
            for index, sample in enumerate(first.scored)
        ],
    }


def _data(columns: Sequence[Column], data: DataSet, first: Column) -> dict[str, Any]:
    scored = dataclasses.replace(data, samples=first.scored)
    return {
        "name": data.name,
        "layout": data.layout,
        "samples": len(data.samples),
        "scored": len(first.scored),
        "scored_per_class": scored.per_class,
        "no_face": sorted({sample.name for column in columns for sample in column.lost}),
        "unreadable": {name: reason for column in columns for name, reason in column.unreadable.items()},
        "left_out_labels": dict(data.left_out),
    }


def _temperature(column: Column) -> float:
    return metrics.fit_temperature([sample.truth for sample in column.scored], column.probabilities)


def _column(column: Column, first: Column, temperature: float | None) -> dict[str, Any]:
    truth = np.array([sample.truth for sample in column.scored])
    measured = metrics.measure(truth, column.probabilities, [sample.truth for sample in column.lost])
    found: dict[str, Any] = {
        "name": column.name,
        **{key: column.info[key] for key in ("engine", "precision", "device", "threads", "conv_form")},
        "weights": column.info["weights"],
        "engine_ms_p50": round(column.engine_ms, 3),
        "metrics": measured.to_dict(),
        "by_part": _by_part(column),
        "war_of_found_faces": metrics.measure(truth, column.probabilities).war,
        "agreement_with_first": float((column.probabilities.argmax(1) == first.probabilities.argmax(1)).mean()),
        "largest_difference_to_first": float(np.abs(column.probabilities - first.probabilities).max()),
        "jitter": None if column.jittered is None else jitter_metrics(truth, column.jittered),
        "calibrated": None,
        "risk_coverage": _risk_coverage(truth, column.probabilities),
    }
    if temperature is not None:
        calibrated = metrics.measure(truth, metrics.with_temperature(column.probabilities, temperature))
        found["calibrated"] = {"temperature": temperature, "log_loss": calibrated.log_loss, "ece": calibrated.ece}
    return found


def _risk_coverage(truth: Any, probabilities: Any) -> dict[str, Any]:
    """Area under the curve, and the risk at each tenth of the faces found that are taken, most confident first."""
    curve = metrics.risk_coverage(truth, probabilities)
    return {"area": curve.area, "risk": {f"{tenth / 10:.1f}": curve.at(tenth / 10) for tenth in range(1, 11)}}


def _by_part(column: Column) -> dict[str, Any]:
    """WAR, UAR and samples of each part of the data set that has parts: scenes, age groups."""
    found = {}
    for part in sorted({sample.part for sample in column.scored} - {""}):
        rows = [index for index, sample in enumerate(column.scored) if sample.part == part]
        truth = [column.scored[index].truth for index in rows]
        lost = [sample.truth for sample in column.lost if sample.part == part]
        measured = metrics.measure(truth, column.probabilities[rows], lost)
        found[part] = {"samples": measured.samples, "war": measured.war, "uar": measured.uar}
    return found


def jitter_metrics(truth: Any, jittered: Any) -> dict[str, Any]:
    """Mean over draws of accuracy, unweighted recall and log loss; ``jittered`` is [N, draws, K], truth [N].

    ``steady`` is the share of samples whose label is the same in all draws.
    """
    draws = [metrics.measure(truth, jittered[:, draw]) for draw in range(jittered.shape[1])]
    accuracy = np.array([draw.war for draw in draws])
    labels = jittered.argmax(2)
    return {
        "draws": len(draws),
        "war_mean": float(accuracy.mean()),
        "war_lowest": float(accuracy.min()),
        "war_highest": float(accuracy.max()),
        "uar_mean": float(np.mean([draw.uar for draw in draws])),
        "log_loss_mean": float(np.mean([draw.log_loss for draw in draws])),
        "steady": float((labels == labels[:, :1]).all(1).mean()),
        "recall": [None if draws[0].recall[k] is None else _mean_recall(draws, k) for k in range(jittered.shape[2])],
    }


def _mean_recall(draws: Sequence[metrics.Metrics], index: int) -> float:
    return float(np.mean([draw.recall[index] for draw in draws]))


def _rounded(probabilities: Any) -> list[float]:
    return [round(float(value), 6) for value in probabilities]


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a document, indented; DferError if it cannot be written, and what was there stays."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a document of this schema.

    Raises
    ------
    CorruptArtifact
        If it is none.
    """
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        schema = content.get("schema")
    except (ValueError, AttributeError) as error:
        raise CorruptArtifact(f"expected an evaluation in JSON, got {path}: {error}") from error
    if schema != SCHEMA:
        raise CorruptArtifact(f"expected schema {SCHEMA!r}, got {schema!r} in {path}")
    return content
