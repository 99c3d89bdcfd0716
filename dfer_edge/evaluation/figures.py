"""Figures of an evaluation, as matplotlib figures; nothing is shown, the report saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfer_edge import metrics
from dfer_edge.errors import EngineUnavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _GREY = "#4878a8", "#b0b0b0"


def require_matplotlib() -> None:
    """Raises EngineUnavailable with the way out if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        message = "an evaluation report needs matplotlib, which is not installed"
        raise EngineUnavailable(message, 'pip install "dfer-edge[evaluate]"') from error


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Figure:
    """Confusion matrix: colour is the share of the true class, numbers are samples."""
    figure, table = _figure(1.6 + 0.62 * len(labels), 1.4 + 0.55 * len(labels)), np.asarray(counts)
    axes = figure.add_subplot()
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        if table[row, column]:
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(table[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=10)
    return figure


def recalls(columns: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Figure:
    """Recall of each class, a bar a column; classes without samples stay empty."""
    figure = _figure(7, 0.9 + 0.32 * len(labels) * max(1, len(columns) * 0.6))
    axes = figure.add_subplot()
    height = 0.8 / len(columns)
    for number, column in enumerate(columns):
        values = [value or 0 for value in column["metrics"]["recall"]]
        axes.barh(np.arange(len(labels)) + number * height, values, height * 0.9, label=column["name"])
    axes.set_yticks(np.arange(len(labels)) + 0.4 - height / 2, labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("recall")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def reliability(truth: Any, probabilities: Any, calibrated: Any, title: str) -> Figure:
    """Accuracy against confidence by bin, before and (if ``calibrated`` is not None) after temperature scaling."""
    figure = _figure(5, 4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
    for scores, name, colour in ((probabilities, "as it is", _BLUE), (calibrated, "with temperature", "#d07030")):
        if scores is None:
            continue
        counts, confidence, accuracy = metrics.reliability(*metrics.checked(truth, scores))
        filled = counts > 0
        sizes = 20 + 180 * counts[filled] / counts.max()
        axes.scatter(confidence[filled], accuracy[filled], s=sizes, color=colour, alpha=0.7, label=name)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def risk_coverage(truth: Any, columns: Mapping[str, Any], title: str) -> Figure:
    """Share of wrong labels among the most confident against the share that is taken; ``columns``: name -> [N, K]."""
    figure = _figure(5, 4)
    axes = figure.add_subplot()
    for name, probabilities in columns.items():
        curve = metrics.risk_coverage(truth, probabilities)
        axes.plot(curve.coverage, curve.risk, label=f"{name}, area {curve.area:.3f}")
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="coverage", ylabel="risk")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def feature_map(points: Any, truth: Any, labels: Sequence[str], title: str) -> Figure:
    """Points [N, 2] of pooled features, coloured by true class."""
    figure = _figure(7, 5)
    axes = figure.add_subplot()
    classes = np.asarray(truth)
    for index, label in enumerate(labels):
        own = points[classes == index]
        if len(own):
            axes.scatter(own[:, 0], own[:, 1], s=22, label=label, alpha=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def picture_grid(pictures: Sequence[Any], captions: Sequence[str], across: int = 6) -> Figure:
    """Pictures [S, S, 3] with a caption each."""
    down = -(-len(pictures) // across)
    figure = _figure(1.6 * across, 1.9 * down)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True), start=1):
        axes = figure.add_subplot(down, across, number)
        axes.imshow(picture)
        axes.set_title(caption, fontsize=7)
        axes.set_axis_off()
    return figure
