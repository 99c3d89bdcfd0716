"""One HTML page of an evaluation document, self-contained."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:right}"
    "th:first-child,td:first-child{text-align:left}img{max-width:100%}.note{background:#fff3cd;padding:.5rem 1rem}"
    "pre{white-space:pre-wrap}"
)


def page(content: Mapping[str, Any], drawn: Mapping[str, Figure]) -> str:
    """One HTML page without any link to elsewhere: figures are inside."""
    title = f"Evaluation of {content['model']}"
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if content["note"]:
        parts.append(f"<p class=note>{html.escape(content['note'])}</p>")
    parts += [_table(rows) for rows in (_overview(content), _recall_rows(content))]
    parts += [_left_out(content)]
    for name, rows in content.get("probes", {}).items():
        heads = {"starts": "clips begin at", "perturbed": "pixels move against the class by, levels of 255"}
        shown = [[next(iter(row.values())), row["samples"], _percent(row["war"]), _percent(row["uar"])] for row in rows]
        parts.append(_table([[heads[name], "samples", "WAR", "UAR"], *shown]))
    parts += [f"<h2>{html.escape(name.replace('_', ' '))}</h2>{image(figure)}" for name, figure in drawn.items()]
    for video in content.get("timeline", ()):
        runs = ", ".join(f"{run['label']} {run['first']}-{run['last']}" for run in video["runs"])
        verdict = "as expected" if video["as_expected"] else f"{len(video['wrong_frames'])} frames are not as expected"
        parts.append(f"<h2>{html.escape(video['source'])}, {html.escape(video['column'])}</h2><p>{runs}: {verdict}</p>")
    provenance = {**content["provenance"], **{f"weights {key}": value for key, value in content["weights"].items()}}
    parts.append("<h2>provenance</h2>" + _table([("", ""), *provenance.items()]))
    head = f"<meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _overview(content: Mapping[str, Any]) -> list[Sequence[Any]]:
    names = ["", "WAR", "UAR", "log loss", "ECE", "same label as the first", "engine, ms"]
    jitter, calibrated = content["protocol"]["jitter"], content["protocol"]["temperature_fitted_on"]
    names += ["WAR, moved boxes", "log loss, moved boxes"] if jitter else []
    names += ["temperature", "log loss, calibrated", "ECE, calibrated"] if calibrated else []
    rows: list[Sequence[Any]] = [names]
    for column in content["columns"]:
        own = column["metrics"]
        cells = [column["name"], _percent(own["war"]), _percent(own["uar"]), f"{own['log_loss']:.3f}"]
        cells += [f"{own['ece']:.3f}", _percent(column["agreement_with_first"]), f"{column['engine_ms_p50']:.1f}"]
        if jitter:
            moved = column["jitter"]
            mean, low, high = (_percent(moved[f"war_{key}"]) for key in ("mean", "lowest", "highest"))
            cells += [f"{mean} ({low} to {high})", f"{moved['log_loss_mean']:.3f}"]
        if calibrated:
            fit = column["calibrated"]
            cells += [f"{fit['temperature']:.3f}", f"{fit['log_loss']:.3f}", f"{fit['ece']:.3f}"]
        rows.append(cells)
    return rows


def _recall_rows(content: Mapping[str, Any]) -> list[Sequence[Any]]:
    rows: list[Sequence[Any]] = [["recall", "samples", *(column["name"] for column in content["columns"])]]
    for index, label in enumerate(content["labels"]):
        values = [column["metrics"]["recall"][index] for column in content["columns"]]
        cells = ["-" if value is None else _percent(value) for value in values]
        rows.append([label, content["data"]["scored_per_class"][label], *cells])
    return rows


def _left_out(content: Mapping[str, Any]) -> str:
    data = content["data"]
    lines = [f"{data['scored']} of {data['samples']} samples of {data['name']} scored ({data['layout']})."]
    if data["no_face"]:
        names = ", ".join(data["no_face"])
        lines.append(f"No face found in {len(data['no_face'])}, wrong in WAR, UAR and recall: {names}.")
    if data["unreadable"]:
        lines.append(f"Not readable, {len(data['unreadable'])}: {', '.join(data['unreadable'])}.")
    if data["left_out_labels"]:
        lines.append(f"Labels not used: {', '.join(f'{k} ({v})' for k, v in data['left_out_labels'].items())}.")
    lines += [f"{name} cannot run here: {reason}." for name, reason in content.get("unavailable", {}).items()]
    lines += [f"No {name}: {reason}." for name, reason in content.get("not_drawn", {}).items()]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _table(rows: Sequence[Sequence[Any]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{html.escape(str(cell))}</th>" for cell in head) + "</tr>"] if any(head) else []
    lines += ["<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"


def image(figure: Figure) -> str:
    """A figure as an ``img`` element with its PNG inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
