"""Results as PNG: latency by system, accuracy against latency, the roofline, and what a prediction consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfer_edge.bench.report.results import HERE, Results, Row
from dfer_edge.bench.report.table import number
from dfer_edge.errors import EngineUnavailable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour a precision, one marker an engine, in every figure.
_COLOURS = {"fp32": "#4878a8", "bf16": "#e49444", "fp16": "#d1615d", "int8": "#5fa052"}
_MARKERS = {
    "torch-eager": "o",
    "torch-compile": "v",
    "torch": "s",
    "onnxruntime": "D",
    "openvino": "^",
    "tensorrt": "P",
    "tensorrt-rtx": "X",
    "onnxruntime-cuda": "<",
    "onnxruntime-tensorrt": ">",
}
_STAGES = ("decode", "detect", "landmarks", "preprocess", "engine", "other")
_STAGE_COLOURS = ("#9d9d9d", "#4878a8", "#b07aa1", "#e49444", "#5fa052", "#dddddd")


def write(results: Results, folder: Path) -> list[Path]:
    """Write every figure that the results have data for; returns the paths. Figures of an earlier run are removed.

    Raises
    ------
    EngineUnavailable
        Without matplotlib.
    """
    figures = {"latency": latency, "accuracy": accuracy, "roofline": roofline, "stages": stages}
    for name in figures:
        (folder / f"{name}.png").unlink(missing_ok=True)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EngineUnavailable(
            "plots need matplotlib, which is not installed", 'pip install "dfer-edge[plots]"'
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in figures.items():
        figure = draw(results)
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, metadata={"Software": None})
            written.append(path)
    return written


def latency(results: Results) -> Figure | None:
    """Median milliseconds of one sample, a panel a network, a bar a system; whiskers end at p90."""
    rows = _systems(results)
    networks = list(dict.fromkeys(row.config["network"] for row in rows))
    if not networks:
        return None
    across = min(3, len(networks))
    down = -(-len(networks) // across)
    most = max(sum(row.config["network"] == name for row in rows) for name in networks)
    figure = _figure(4.3 * across, 0.55 + down * (0.75 + 0.24 * most))
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, name in zip(panels, networks, strict=False):
        own = sorted((row for row in rows if row.config["network"] == name), key=lambda row: -row.latency_ms["p50"])
        times = [row.latency_ms["p50"] for row in own]
        beyond = [max(0.0, row.latency_ms.get("p90", ms) - ms) for row, ms in zip(own, times, strict=True)]
        colours = [_COLOURS[row.config["precision"]] for row in own]
        axes.barh([_name(row) for row in own], times, xerr=[[0] * len(own), beyond], color=colours, ecolor="#555555")
        for position, (ms, more) in enumerate(zip(times, beyond, strict=True)):
            axes.annotate(
                number(ms), (ms + more, position), (3, 0), textcoords="offset points", va="center", fontsize=7
            )
        axes.set_title(name, fontsize=9)
        axes.margins(x=0.18)
        axes.tick_params(labelsize=7)
    for axes in panels[len(networks) :]:
        axes.set_visible(False)
    figure.suptitle(_title(results, "ms of one sample, median and p90"), fontsize=9)
    return figure


def accuracy(results: Results) -> Figure | None:
    """Weighted average recall of the shipped weights against latency."""
    rows = [row for row in _systems(results) if "war" in row.accuracy]
    if not rows:
        return None
    figure = _figure(7.2, 4.0)
    axes = figure.add_subplot()
    for row in rows:
        engine, precision = row.config["engine"], row.config["precision"]
        place = (row.latency_ms["p50"], 100 * row.accuracy["war"])
        style: dict[str, Any] = {"color": _COLOURS[precision], "markersize": 8, "alpha": 0.85, "label": _name(row)}
        axes.errorbar(*place, _standard_error(row), fmt=_MARKERS[engine], elinewidth=0.7, ecolor="#999999", **style)
    axes.set(xscale="log", xlabel="ms of one clip, median", ylabel="WAR, %, and its standard error")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain_log(axes)
    first = rows[0].accuracy
    where = "" if first.get("source", HERE) == HERE else ", not measured here: from the evaluation that ships"
    data = f"{first['samples']} samples of {first['data']}{where}"
    figure.suptitle(_title(results, f"accuracy against latency, {rows[0].config['network']}, {data}"), fontsize=9)
    return figure


def _standard_error(row: Row) -> float:
    """Of a share, in per cent: few samples say little, and the picture shows how little."""
    war, samples = row.accuracy["war"], row.accuracy["samples"]
    return 100 * float((war * (1 - war) / samples) ** 0.5)


def roofline(results: Results) -> Figure | None:
    """Measured operations a second against operations a byte, under the peaks of the device; CPU and GPU apart."""
    rows = [row for row in _systems(results) if row.cost]
    peaks = {"cpu": results.peaks, "cuda": results.peaks.get("cuda", {})}
    panels = {name: [row for row in rows if row.config.get("device", "cpu") == name] for name in peaks if peaks[name]}
    panels = {name: own for name, own in panels.items() if own}
    if not panels:
        return None
    figure = _figure(1.8 + 5.6 * len(panels), 4.8)
    for axes, (name, own) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        _roof(axes, own, peaks[name])
    copies = ", ".join(f"{name} copy {peaks[name]['bytes_per_s'] / 1e9:.0f} GB/s" for name in panels)
    figure.suptitle(_title(results, f"roofline, measured peaks; {copies}"), fontsize=9)
    return figure


def _roof(axes: Axes, rows: Sequence[Any], peaks: Mapping[str, Any]) -> None:
    intensity = [2 * row.cost["macs"] / row.cost["bytes"] for row in rows]
    ridges = [flops / peaks["bytes_per_s"] for flops in peaks["flops"].values()]
    # Both the slope and the flat part of every roof are in the picture.
    low, high = min(*intensity, *ridges) / 4, max(*intensity, *ridges) * 4
    for precision, flops in peaks["flops"].items():
        ridge = flops / peaks["bytes_per_s"]
        marks = sorted({low, min(max(ridge, low), high), high})
        roof = [min(flops, mark * peaks["bytes_per_s"]) / 1e9 for mark in marks]
        axes.plot(marks, roof, color=_COLOURS[precision], linewidth=1.2)
        label = f"{precision} {flops / 1e9:.0f} GFLOP/s"
        axes.annotate(label, (high, flops / 1e9), (-2, 3), textcoords="offset points", ha="right", fontsize=7)
    seen: set[str] = set()
    for row, x in zip(rows, intensity, strict=True):
        label, marker = _name(row), _MARKERS[row.config["engine"]]
        rate = 2 * row.cost["macs"] / (row.latency_ms["p50"] / 1e3) / 1e9
        colour, shown = _COLOURS[row.config["precision"]], None if label in seen else label
        axes.plot(x, rate, marker, color=colour, markersize=5, alpha=0.8, label=shown)
        seen.add(label)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte (weights and layers' inputs and outputs once)")
    axes.set_ylabel("GFLOP/s")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def stages(results: Results) -> Figure | None:
    """What predicting a video consists of, a bar a system."""
    rows = [row for row in results.rows.values() if row.group == "video" and row.ok and row.stages_ms]
    if not rows:
        return None
    figure = _figure(7.2, 1.3 + 0.5 * len(rows))
    axes = figure.add_subplot()
    names = [f"{row.id.rpartition('/')[2]}: {_name(row)}" for row in rows]
    left = [0.0] * len(rows)
    for stage, colour in zip(_STAGES, _STAGE_COLOURS, strict=True):
        widths = [_stage(row, stage) for row in rows]
        if any(widths):
            axes.barh(names, widths, left=left, color=colour, label=stage)
            left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_xlabel(f"ms of {rows[0].config['video']}, {rows[0].extra['frames']} frames")
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, ncols=len(_STAGES), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.suptitle(_title(results, "end to end by stage, medians"), fontsize=9)
    return figure


def _stage(row: Row, stage: str) -> float:
    if stage == "other":
        named = sum(ms for name, ms in row.stages_ms.items() if name != "total")
        return max(0.0, row.stages_ms["total"] - named)
    return row.stages_ms.get(stage, 0.0)


def _systems(results: Results) -> list[Any]:
    """Measured systems at batch 1."""
    rows: Sequence[Row] = list(results.rows.values())
    return [row for row in rows if row.ok and row.group in ("network", "engine") and row.config["batch"] == 1]


def _name(row: Row) -> str:
    return f"{row.config['engine']}/{row.config['precision']}"


def _title(results: Results, what: str) -> str:
    partial = "" if results.complete else ", PARTIAL RUN"
    facts = results.provenance
    return f"{what}\n{facts['device']}, {len(facts['pinned_to'])} threads, {facts['date']}{partial}"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _plain_log(axes: Axes) -> None:
    """Numbers instead of powers of ten on a logarithmic axis of less than two decades."""
    from matplotlib.ticker import LogLocator, ScalarFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter("")
