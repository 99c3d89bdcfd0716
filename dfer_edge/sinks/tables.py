"""JSON and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfer_edge.system.whole_files import replacing
from dfer_edge.types import Signals, Timeline


def to_json(timeline: Timeline, info: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about a run, JSON-safe: the timeline, and ``Recognizer.info()`` under ``recognizer``."""
    return {**timeline.to_dict(), "recognizer": dict(info)}


def write_json(path: str | Path, timeline: Timeline, info: Mapping[str, Any]) -> None:
    """Write :func:`to_json`, indented."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(to_json(timeline, info), indent=2) + "\n", encoding="utf-8")


def write_csv(path: str | Path, timeline: Timeline) -> None:
    """One row a window and person: start_s, end_s, track_id, label, confidence, box, weights, probability by class.

    Where there are signals, then intensity, valence, arousal and each action unit.
    """
    labels = timeline.prediction.labels
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        edges = ("left", "top", "right", "bottom")
        units = next((list(o.prediction.signals.units) for o in timeline.observations if o.prediction.signals), None)
        more = [] if units is None else ["intensity", "valence", "arousal", *units]
        writer.writerow(["start_s", "end_s", "track_id", "label", "confidence", *edges, "weights", *labels, *more])
        for o in timeline.observations:
            p = o.prediction
            numbers = [f"{edge:.1f}" for edge in o.box]
            scores = [f"{probability:.6f}" for probability in p.probabilities]
            head = [f"{o.start_s:.3f}", f"{o.time_s:.3f}", o.track_id, p.label, f"{p.confidence:.6f}"]
            writer.writerow([*head, *numbers, p.weights["name"], *scores, *_signals(p.signals, len(more))])


def _signals(signals: Signals | None, columns: int) -> list[str]:
    """Cells of the columns for signals; empty where a window has none."""
    if signals is None:
        return [""] * columns
    values = (signals.intensity, signals.valence, signals.arousal, *signals.units.values())
    return [f"{value:.4f}" for value in values]
