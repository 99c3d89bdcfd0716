"""The tables of a reproduction: Markdown, HTML and JSON, the printed number beside ours."""

from __future__ import annotations

import html
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfer_edge.evaluation.page import STYLE, image
from dfer_edge.reproduce.figures import drawn
from dfer_edge.reproduce.runs import Job, missing_starts
from dfer_edge.system.provenance import versions
from dfer_edge.system.whole_files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "dfer_edge.reproduction/1"
_HEAD = ("table", "variant", "data", "printed WAR", "ours", "inner", "printed UAR", "ours", "inner", "folds", "note")

_LEGEND = (
    "Per cent, mean ± deviation over folds. ours: the epoch is chosen on the test set, as the papers do;",
    "inner: the same run, the epoch chosen on people held out of the training set.",
)


def write(job: Job, results: Sequence[Mapping[str, Any]]) -> list[Path]:
    """``reproduction.json``, ``.md`` and ``.html`` in the job's folder; the paths written. Figures need matplotlib."""
    content = document(job, results)
    figures = drawn(content) if importlib.util.find_spec("matplotlib") else {}
    texts = {"json": json.dumps(content, indent=1) + "\n", "md": markdown(content), "html": page(content, figures)}
    written = []
    for suffix, text in texts.items():
        path = job.out / f"reproduction.{suffix}"
        write_text(path, text)
        written.append(path)
    return written


def document(job: Job, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything, JSON-safe; WAR and UAR in per cent, mean and deviation over folds."""
    return {
        "schema": SCHEMA,
        "paper": job.paper.number,
        "title": job.paper.title,
        "warnings": warnings(job, results),
        "open": list(job.paper.open),
        "provenance": versions(),
        "rows": [{**result, "ours": _summary(result["runs"])} for result in results],
    }


def warnings(job: Job, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What keeps these numbers from being the paper's, in words."""
    starts = {run["start"] for result in results for run in result["runs"]}
    lines = []
    if "*" in job.data:
        lines.append("RENDERED faces stand in for every data set: no number here says anything about real faces.")
    if job.is_small:
        lines.append("TINY: inputs are smaller than the paper's, batches too, some networks less deep.")
    for name, count in (("side in pixels", job.size), ("number of frames", job.frames)):
        lines += [f"The {name} of the inputs is {count}."] if count else []
    if job.quick:
        lines.append("QUICK: one epoch on three clips a class, one to test; the numbers are noise.")
    if job.epochs:
        lines.append(f"Every stage has {job.epochs} epochs, not the paper's.")
    lines += [f"Of every recipe {field} is {value}, not the paper's." for field, value in job.changes]
    if job.init:
        lines.append(f"Networks started from {job.init}; weights of ours bring their crop and scale of pixels.")
    if "noise" in starts:
        for name, address in missing_starts(job).items():
            lines.append(f"NOISE: networks started from it, the paper's from {name}: --init the file of {address}")
    lines.append("A tenth of the training people is held out to choose an epoch: the papers train on all.")
    return lines


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for choice in ("on_test", "on_inner") if runs else ():
        for name in ("war", "uar"):
            values = 100 * np.array([run[choice][name] for run in runs])
            found[f"{choice}_{name}"] = {"mean": float(values.mean()), "sd": float(values.std(ddof=len(values) > 1))}
    if runs:
        summed = np.sum([run["on_test"]["confusion"] for run in runs], axis=0)
        found["confusion"] = summed.tolist()
        found["recall"] = (100 * np.diag(summed) / np.maximum(summed.sum(1), 1)).tolist()
        train = [run["on_test"]["train_war"] for run in runs if run["on_test"]["train_war"] is not None]
        found["train_minus_test_war"] = float(100 * np.mean(train) - found["on_test_war"]["mean"]) if train else None
    return found


def _cells(row: Mapping[str, Any]) -> list[str]:
    own, ours = row["row"], row["ours"]
    cells = [own["table"], own["name"], own["data"]]
    for name in ("war", "uar"):
        printed = own["printed"].get(name)
        cells.append("-" if printed is None else f"{printed:.2f}")
        for choice in ("on_test", "on_inner"):
            value = ours.get(f"{choice}_{name}")
            cells.append("-" if value is None else f"{value['mean']:.2f} ± {value['sd']:.2f}")
    return [*cells, str(len(row["runs"])), row["missing"] or own["note"]]


def markdown(content: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [f"# Paper {content['paper']}: {content['title']}", ""]
    lines += [f"**{line}**" if line[:3].isupper() else line for line in content["warnings"]]
    lines += ["", *_LEGEND, ""]
    rows = [_HEAD, ["---"] * len(_HEAD), *(_cells(row) for row in content["rows"])]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    for row in content["rows"]:
        if row["runs"]:
            lines += ["", f"## {row['row']['name']} on {row['row']['data']}: confusion, summed over folds", ""]
            lines += _confusion(row)
    lines += ["", "Not reproduced:", "", *(f"- {line}" for line in content["open"] or ("nothing is left out",)), ""]
    provenance = content["provenance"]
    lines += [", ".join(f"{key} {value}" for key, value in provenance.items() if value), ""]
    return "\n".join(lines)


def _confusion(row: Mapping[str, Any]) -> list[str]:
    """Counts with the share of the true class."""
    names, counts = row["runs"][0]["labels"], np.array(row["ours"]["confusion"])
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    lines = ["| true \\ said | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for name, own, share in zip(names, counts, shares, strict=True):
        cells = [f"{count} ({part:.0f} %)" for count, part in zip(own, share, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def page(content: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    """One self-contained HTML page with the same, and the figures inside."""
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in _cells(row))}</tr>" for row in content["rows"])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _HEAD)
    notes = "".join(f"<p class=note>{html.escape(line)}</p>" for line in content["warnings"])
    left = "".join(f"<li>{html.escape(line)}</li>" for line in content["open"] or ("nothing is left out",))
    title = html.escape(f"Paper {content['paper']}: {content['title']}")
    pictures = "".join(f"<h2>{html.escape(name)}</h2>{image(figure)}" for name, figure in figures.items())
    made = html.escape(", ".join(f"{key} {value}" for key, value in content["provenance"].items() if value))
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title><style>{STYLE}</style></head>"
        f"<body><h1>{title}</h1>{notes}<p>{' '.join(_LEGEND)}</p><table><tr>{head}</tr>{rows}</table>"
        f"<h2>Not reproduced</h2><ul>{left}</ul>{pictures}<p>{made}</p></body></html>\n"
    )
