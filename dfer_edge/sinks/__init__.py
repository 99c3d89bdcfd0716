"""Sinks: what becomes of a timeline. JSON, CSV, an annotated video, a plot."""

from __future__ import annotations

from dfer_edge.sinks.overlay import write_overlay
from dfer_edge.sinks.plot import write_plot
from dfer_edge.sinks.tables import to_json, write_csv, write_json

__all__ = ["RANDOM_NOTE", "to_json", "write_csv", "write_json", "write_overlay", "write_plot"]

RANDOM_NOTE = "random weights: labels are meaningless, timings are real"
