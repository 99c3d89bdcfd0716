"""The report of an evaluation: JSON, PNG figures and one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfer_edge import metrics
from dfer_edge.errors import DferError
from dfer_edge.evaluation import figures
from dfer_edge.evaluation.document import write_json
from dfer_edge.evaluation.page import page
from dfer_edge.evaluation.plan import Evaluation, Progress
from dfer_edge.evaluation.probes import training_form
from dfer_edge.evaluation.run import Column, clip_of
from dfer_edge.system.whole_files import replacing, write_text
from dfer_edge.types import Clip

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

# Samples in the map of features, taken from the classes in turn: more would be minutes in eager torch.
MOST_CLIPS = 400
GRAD_CAMS = 18


def write_report(
    folder: str | Path,
    result: Evaluation,
    inside: bool = True,
    progress: Progress | None = None,
    map_samples: int = MOST_CLIPS,
) -> list[Path]:
    """Write ``evaluation.json``, figures and ``report.html``.

    Parameters
    ----------
    folder
        Made if it is not there; files of the same names are replaced.
    result
        Of :func:`dfer_edge.evaluation.plan.evaluate`.
    inside
        Also draw the map of features and Grad-CAM, which read the weights again with torch; what cannot be drawn is
        said in the report.
    progress
        As in :func:`dfer_edge.evaluation.plan.evaluate`.
    map_samples
        Samples in the map of features at most.

    Returns
    -------
    The files written.

    Raises
    ------
    EngineUnavailable
        If matplotlib is not installed.
    DferError
        If a file cannot be written; what was there stays.
    """
    figures.require_matplotlib()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _figures(result)
    skipped: dict[str, str] = {}
    if inside:
        drawn |= _inside(result, skipped, progress, map_samples)
    content = {**result.content, "not_drawn": skipped}
    written = []
    for name, figure in drawn.items():
        with replacing(folder / f"{name}.png") as partial:
            figure.savefig(partial)
        written.append(folder / f"{name}.png")
    write_json(folder / "evaluation.json", content)
    write_text(folder / "report.html", page(content, drawn))
    return [folder / "report.html", folder / "evaluation.json", *written]


def _figures(result: Evaluation) -> dict[str, Figure]:
    labels, column, first = result.content["labels"], result.content["columns"][0], result.columns[0]
    note = f"\n{result.content['note']}" if result.content["note"] else ""
    title = f"{result.content['model']}, {column['name']}{note}"
    kept = first.of([prediction["name"] for prediction in result.content["predictions"]])
    truth = np.array([sample.truth for sample in kept.scored])
    calibrated = None
    if column["calibrated"]:
        calibrated = metrics.with_temperature(kept.probabilities, column["calibrated"]["temperature"])
    return {
        "confusion": figures.confusion(column["metrics"]["confusion"], labels, title),
        "recall": figures.recalls(result.content["columns"], labels),
        "reliability": figures.reliability(truth, kept.probabilities, calibrated, title),
        "risk_coverage": figures.risk_coverage(truth, {column["name"]: kept.probabilities}, title),
    }


def _inside(result: Evaluation, skipped: dict[str, str], progress: Progress | None, most: int) -> dict[str, Figure]:
    """Figures that need torch and trained weights; what is missing goes to ``skipped``."""
    features, grad_cam = "map of features", "Grad-CAM"
    try:
        module = training_form(result.recognizer.spec, result.weights)
    except DferError as error:
        skipped.update(dict.fromkeys((features, grad_cam), error.message))
        return {}
    from dfer_edge.evaluation import explain as inside

    spec, column = result.recognizer.spec, _spread(result.columns[0], most)
    drawn: dict[str, Figure] = {}
    try:
        # Before any attention, and what the classifier reads: the papers print one or the other.
        found = inside.both_features(module, _clips(result, column, progress), spec)
        for name, rows in zip(("features", "classifier_features"), found, strict=True):
            method, points = inside.embedding(rows)
            title = f"{name.replace('_', ' ')} of {spec.name}, {method}"
            drawn[name] = figures.feature_map(points, [s.truth for s in column.scored], spec.labels, title)
    except DferError as error:
        skipped[features] = str(error)
    try:
        drawn["grad_cam"] = _grad_cams(module, _spread(column, GRAD_CAMS), result, progress)
    except DferError as error:
        skipped[grad_cam] = error.message
    return drawn


def _clips(result: Evaluation, column: Column, progress: Progress | None) -> Iterator[Clip]:
    """What the network sees of each sample, one at a time."""
    for done, sample in enumerate(column.scored, start=1):
        yield clip_of(result.recognizer, sample, result.plan.faces)
        if progress:
            progress("looking inside", done, len(column.scored))


def _spread(column: Column, most: int) -> Column:
    """Up to ``most`` samples of a column, taken from the classes in turn."""
    ranks: Counter[int] = Counter()
    keys = []
    for sample in column.scored:
        keys.append((ranks[sample.truth], sample.truth, sample.name))
        ranks[sample.truth] += 1
    return column.of([name for _, _, name in sorted(keys)[:most]])


def _grad_cams(module: nn.Module, column: Column, result: Evaluation, progress: Progress | None) -> Figure:
    from dfer_edge.evaluation import explain as inside

    spec = result.recognizer.spec
    pictures, captions = [], []
    clips = _clips(result, column, progress)
    for sample, scores, clip in zip(column.scored, column.probabilities, clips, strict=True):
        said, middle = int(scores.argmax()), len(clip.frames) // 2
        # What speaks for the true class too, where another was said.
        for shown in dict.fromkeys((said, sample.truth)):
            heat = inside.grad_cam(module, clip, spec, shown)[middle]
            pictures.append(inside.overlaid(clip.frames[middle], heat))
            of = "said" if shown == said else "for the true; said"
            captions.append(f"{spec.labels[sample.truth]}\n{of} {spec.labels[said]}")
    return figures.picture_grid(pictures, captions)
