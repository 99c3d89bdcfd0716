"""JSON and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfer_edge.system.whole_files import replacing
from dfer_edge.types import Timeline


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
    columns, rows = timeline.table()
    kinds = len(timeline.prediction.labels)
    formats = [".3f", ".3f", "", "", ".6f", *[".1f"] * 4, "", *[".6f"] * kinds]
    formats += [".4f"] * (len(columns) - len(formats))
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow("" if cell is None else format(cell, f) for cell, f in zip(row, formats, strict=True))
