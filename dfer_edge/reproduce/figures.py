"""Figures of a reproduction, from its document: printed and ours, curves by epoch, summed confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

_CURVES = {"train_war": "training, as augmented", "val_war": "test", "inner_war": "held-out people"}
_COLOURS = {"printed": "#b0b0b0", "on_test": "#4878a8", "on_inner": "#d07030"}
_NAMES = {"printed": "printed", "on_test": "ours, epoch chosen on the test set", "on_inner": "ours, on held-out people"}


def name_of(row: Row) -> str:
    """Of a row, for titles."""
    return f"{row['row']['name']} on {row['row']['data']}"


def drawn(content: Mapping[str, Any]) -> dict[str, Figure]:
    """Title -> figure, of the rows that were run."""
    rows = [row for row in content["rows"] if row["runs"]]
    figures = {"accuracy by row": accuracies(rows)} if rows else {}
    for row in rows:
        labels, counts = row["runs"][0]["labels"], row["ours"]["confusion"]
        figures[f"confusion: {name_of(row)}"] = confusion(counts, labels)
        histories = [run.get("history", []) for run in row["runs"]]
        if len(histories[0]) > 1:
            figures[f"by epoch: {name_of(row)}"] = curves(histories)
    return figures


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=100)


def accuracies(rows: Sequence[Row]) -> Figure:
    """WAR of all rows as bars, deviation over folds as whiskers."""
    figure = _figure(8, 1.1 + 0.42 * len(rows))
    axes = figure.add_subplot()
    for number, (kind, colour) in enumerate(_COLOURS.items()):
        values, deviations = zip(*(_bar(row, kind) for row in rows), strict=True)
        places = np.arange(len(rows)) + 0.27 * (number - 1)
        axes.barh(places, values, 0.25, xerr=deviations, color=colour, label=_NAMES[kind], error_kw={"linewidth": 0.8})
    axes.set_yticks(np.arange(len(rows)), [name_of(row) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="WAR, per cent")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=3)
    return figure


def _bar(row: Row, kind: str) -> tuple[float, float]:
    if kind == "printed":
        return row["row"]["printed"].get("war", 0.0), 0.0
    found = row["ours"][f"{kind}_war"]
    return found["mean"], found["sd"]


def curves(histories: Sequence[Sequence[Row]]) -> Figure:
    """WAR by epoch, the mean over folds; stages are parted by a line."""
    figure = _figure(6, 3)
    axes = figure.add_subplot()
    length = min(map(len, histories))
    for key, label in _CURVES.items():
        values = [[100 * float(row[key]) for row in rows[:length] if row.get(key) is not None] for rows in histories]
        if all(len(own) == length for own in values):
            axes.plot(np.arange(1, length + 1), np.mean(values, axis=0), marker=".", label=label)
    for index in range(1, length):
        if histories[0][index]["stage"] != histories[0][index - 1]["stage"]:
            axes.axvline(index + 0.5, color="0.8", linewidth=1)
    axes.set(xlabel="epoch, all stages", ylabel="WAR, per cent", ylim=(0, 102))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Share of each true class, with the counts of all folds."""
    summed = np.asarray(counts)
    shares = 100 * summed / np.maximum(summed.sum(1, keepdims=True), 1)
    side = 1.6 + 0.62 * len(labels)
    figure = _figure(side, side - 0.6)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for place, share in np.ndenumerate(shares):
        text = f"{share:.0f} %\n{summed[place]}"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=7, color="w" if share > 55 else "k")
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(xlabel="said", ylabel="true")
    return figure
