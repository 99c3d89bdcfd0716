"""The logs of a run: a CSV row and PNG curves an epoch, and the clips that were skipped."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.training.checkpoint import publish

Row = Mapping[str, Any]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """All rows as CSV, in one step; columns in order of appearance; tables within rows are left out."""
    rows = [{key: value for key, value in row.items() if not isinstance(value, list)} for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _rounded(value) for key, value in row.items()} for row in rows)
    publish(path, lambda scratch: scratch.write_text(text.getvalue()))


def write_skipped(path: Path, skipped: Mapping[str, str]) -> None:
    """Clips that did not read, with the reason."""
    write_table(path, [{"clip": clip, "reason": reason} for clip, reason in sorted(skipped.items())])


def write_curves(path: Path, rows: Sequence[Row]) -> bool:
    """Loss, recall and learning rate by epoch as PNG; False without matplotlib or rows."""
    if not rows or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = (("loss", "val_log_loss"), ("val_uar", "val_war", "train_war"), ("lr",))
    for axes, names in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name in names:
            points = [(index + 1, row[name]) for index, row in enumerate(rows) if row.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=name)
        for index in range(1, len(rows)):
            if rows[index]["stage"] != rows[index - 1]["stage"]:
                axes.axvline(index + 0.5, color="0.8", linewidth=1)
        axes.set_xlabel("epoch")
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    publish(path, lambda scratch: figure.savefig(scratch, format="png", dpi=120))
    return True


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
