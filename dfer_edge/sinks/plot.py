"""Probabilities over time, as a picture."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.errors import EngineUnavailable
from dfer_edge.system import settings
from dfer_edge.system.whole_files import replacing
from dfer_edge.types import Observation, Timeline


def write_plot(path: str | Path, timeline: Timeline, title: str) -> None:
    """Write a PNG: probability of each class for the person seen longest, a step a window; bars for a single window.

    Where there are signals, a second panel shows intensity, valence and arousal.

    Raises
    ------
    EngineUnavailable
        If matplotlib is not installed.
    """
    # Or matplotlib writes into the home folder, and complains where there is none.
    os.environ.setdefault("MPLCONFIGDIR", str(settings.cache_folder() / "matplotlib"))
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineUnavailable(
            "a plot needs matplotlib, which is not installed", 'pip install "dfer-edge[plots]"'
        ) from error
    single = len(timeline.primary) == 1
    with_signals = any(window.prediction.signals for window in timeline.primary)
    figure = Figure(figsize=(9, 7 if with_signals else 4), layout="constrained")
    axes = figure.add_subplot(2 if with_signals else 1, 1, 1)
    if single:
        _bars(axes, timeline.primary[0])
    else:
        _steps(axes, timeline)
    # Names are no formulas; what no font can show is shown as its code.
    axes.set_title(printable(title), fontsize=10, parse_math=False)
    if with_signals:
        (_unit_bars if single else _signal_steps)(figure.add_subplot(2, 1, 2), timeline)
    for part in figure.axes:
        part.spines[["top", "right"]].set_visible(False)
    with replacing(path) as partial, warnings.catch_warnings():
        # A box stands for a glyph that no font has.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(partial, dpi=120)


def printable(text: str) -> str:
    """Text without control characters and halves of characters, as file names may have them."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown.encode("utf-8", "replace").decode()


def _bars(axes: Any, observation: Observation) -> None:
    labels, values = observation.prediction.labels, observation.prediction.probabilities
    bars = axes.barh(labels[::-1], values[::-1], color="#4878a8")
    axes.bar_label(bars, fmt="{:.2f}", padding=3)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"probability, {observation.start_s:.1f} to {observation.time_s:.1f} s")


def _steps(axes: Any, timeline: Timeline) -> None:
    windows = timeline.primary
    edges = [windows[0].start_s, *(window.time_s for window in windows)]
    probabilities = np.stack([window.prediction.probabilities for window in windows])
    for index, label in enumerate(timeline.prediction.labels):
        axes.stairs(probabilities[:, index], edges, baseline=None, label=label, linewidth=2)
    axes.set_ylim(0, 1)
    axes.set_xlabel("time, s")
    axes.set_ylabel("probability")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _signal_steps(axes: Any, timeline: Timeline) -> None:
    windows = timeline.primary
    edges = [windows[0].start_s, *(window.time_s for window in windows)]
    for name in ("intensity", "valence", "arousal"):
        values = [getattr(window.prediction.signals, name, np.nan) for window in windows]
        axes.stairs(values, edges, baseline=None, label=name, linewidth=2)
    axes.axhline(0, color="#bbbbbb", linewidth=0.8)
    axes.set_ylim(-1, 1)
    axes.set_xlabel("time, s")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _unit_bars(axes: Any, timeline: Timeline) -> None:
    signals = timeline.primary[0].prediction.signals
    if signals is None:
        return
    named = {"intensity": signals.intensity, "valence": signals.valence, "arousal": signals.arousal, **signals.units}
    bars = axes.barh(list(named)[::-1], list(named.values())[::-1])
    axes.bar_label(bars, fmt="{:.2f}", padding=3)
    axes.set_xlim(-1, 1)
    axes.set_xlabel("intensity of action units; valence, arousal")
