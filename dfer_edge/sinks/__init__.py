"""Sinks: what becomes of a timeline. JSON, CSV, an annotated video, a plot."""

from __future__ import annotations

from dfer_edge.sinks.overlay import write_overlay
from dfer_edge.sinks.plot import write_plot
from dfer_edge.sinks.tables import to_json, write_csv, write_json
from dfer_edge.weights.file import labels_mean_nothing

__all__ = ["RANDOM_NOTE", "note_on", "to_json", "write_csv", "write_json", "write_overlay", "write_plot"]

RANDOM_NOTE = "random weights: labels are meaningless, timings are real"


def note_on(weights_name: str) -> str:
    """The line that every sink shows beside results of random or partly random weights; empty for others."""
    if not labels_mean_nothing(weights_name):
        return ""
    return RANDOM_NOTE if weights_name == "random" else f"{weights_name}: labels are meaningless, timings are real"
