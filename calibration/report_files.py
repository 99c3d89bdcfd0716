"""A report as JSON, Markdown and PNG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from dfer_edge.calibration.report import Report
from dfer_edge.calibration.table import write_text
from dfer_edge.errors import CalibrationError, EngineUnavailable
from dfer_edge.weights.file import labels_mean_nothing


def write_report(report: Report, folder: str | Path, plot: bool = True) -> list[Path]:
    """Write ``MODEL.int8.json``, ``.md`` and, with ``plot``, ``.png``; returns the paths.

    Raises
    ------
    CalibrationError
        If the folder is missing, full or cannot be written.
    EngineUnavailable
        If a plot is asked for and matplotlib is not installed.
    """
    data, page, picture = report_paths(report.model, folder)
    write_text(data, json.dumps(report.to_dict(), indent=2) + "\n")
    write_text(page, markdown(report))
    return [data, page, _plot(report, picture)] if plot else [data, page]


def report_paths(model: str, folder: str | Path) -> list[Path]:
    """The JSON, Markdown and PNG files of a model's report."""
    return [Path(folder) / f"{model}.int8.{suffix}" for suffix in ("json", "md", "png")]


def markdown(report: Report) -> str:
    """The report as a page."""
    found = report.comparison
    kinds = [layer["kind"] for layer in report.layers]
    note = " Random weights: labels mean nothing, differences do." if labels_mean_nothing(report.weights) else ""
    lines = [
        f"# {report.model}, int8",
        "",
        f"Weights {report.weights}.{note} Ranges by {report.method} on {report.calibration_clips} clips; compared with "
        f"fp32 on {found.clips} others, in {report.engine} ({report.scheme}).",
        "",
        *_table(
            ("what", "value"),
            [
                ("top-1 agreement", f"{100 * found.top1_agreement:.1f} %"),
                ("mean probability difference", f"{found.mean_probability_difference:.4f}"),
                ("largest probability difference", f"{found.max_probability_difference:.4f}"),
                ("labels seen", str(found.labels_seen)),
                (f"recall, mean over classes (against {found.truth})", f"{found.uar_delta:+.2f} points"),
                ("layers int8 / int8 weights / float", " / ".join(str(kinds.count(k)) for k in _KINDS)),
            ],
        ),
        "## Recall by class",
        "",
        *_table(("label", "change"), [(k, f"{100 * v:+.2f} points") for k, v in found.recall_delta.items()]),
        "## Clips that changed most",
        "",
        *_table(("clip", "difference", "fp32", "int8"), [tuple(map(_text, worst.values())) for worst in found.worst]),
        "## Layers",
        "",
        *_table(
            ("layer", "kind", "signal to noise, dB", "why not int8"),
            [(x["layer"], x["kind"], _decibel(report, x["layer"]), x["reason"]) for x in report.layers],
        ),
    ]
    if len(report.curve) > 1:
        rows = [(str(len(point["exclude"])), f"{point['drop']:.2f}") for point in report.curve]
        lines += ["## Layers left in float against points lost", "", *_table(("layers", "points"), rows)]
    return "\n".join(lines)


_KINDS = ("int8", "weights", "float")


def _decibel(report: Report, layer: str) -> str:
    return f"{report.snr_db[layer]:.1f}" if layer in report.snr_db else ""


def _text(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return [*(f"| {line} |" for line in lines), ""]


def _plot(report: Report, path: Path) -> Path:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineUnavailable("a plot needs matplotlib", 'pip install "dfer-edge[plots]"') from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(report.snr_db)), list(report.snr_db.values()))
    axes.set(xlabel="layer, in order", ylabel="signal to noise, dB")
    agreement = 100 * report.comparison.top1_agreement
    axes.set_title(f"{report.model} int8, weights {report.weights}: {agreement:.1f} % agreement with fp32")
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error}") from error
    return path
