"""Archives labelled: every video of a folder to one table, resumable, on one machine or a Ray cluster."""

from __future__ import annotations

from dfer_edge.label.archive import Report, label_archive

__all__ = ["Report", "label_archive"]
