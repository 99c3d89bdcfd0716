"""Model cards: Markdown made from evaluation documents and training notes, so that no number in them can drift.

Beside the weights ``NAME.safetensors`` lie ``NAME.training.json`` (what a person knows of the training),
``NAME.evaluation*.json`` (written by ``dfer-edge evaluate``) and ``NAME.md``, which is made from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.evaluation.document import read_json

# Key of the training notes -> heading. Values are text, or lists of text, which become bullets.
SECTIONS = {
    "data": "Training data",
    "recipe": "Recipe",
    "seeds": "Seeds",
    "choosing": "What was used for choosing",
    "limits": "Limits",
    "licence": "Licence",
}


def model_card(training: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The card in Markdown.

    Parameters
    ----------
    training
        The keys of :data:`SECTIONS`, each text or a list of texts; and ``about``, a sentence on what this is.
    evaluations
        Documents of :func:`dfer_edge.evaluation.document.document`, all of the same weights.

    Raises
    ------
    InvalidInput
        If a key is missing, there is no evaluation, or they are of several weights.
    """
    if missing := [key for key in ("about", *SECTIONS) if not training.get(key)]:
        raise InvalidInput(f"expected training notes with {', '.join(('about', *SECTIONS))}; {missing[0]} is missing")
    hashes = {evaluation["weights"]["sha256"] for evaluation in evaluations}
    if len(hashes) != 1:
        raise InvalidInput(f"expected evaluations of one weights file, got {len(hashes)}: {sorted(hashes)}")
    first = evaluations[0]
    lines = [f"# {first['model']}: model card", "", str(training["about"]), ""]
    if first["note"]:
        lines += [f"**{first['note']}**", ""]
    lines += [f"Weights sha256 `{first['weights']['sha256']}`, stored as {first['weights']['compact'] or 'float'}.", ""]
    lines.append("Made by `dfer-edge models card` from the JSON files beside it; do not edit.")
    for key, heading in SECTIONS.items():
        if key == "limits":
            lines += [line for evaluation in evaluations for line in _evaluation(evaluation)]
        lines += ["", f"## {heading}", "", *_text(training[key])]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> list[str]:
    return [f"- {item}" for item in value] if isinstance(value, list) else [str(value)]


def _evaluation(evaluation: Mapping[str, Any]) -> Iterator[str]:
    data, protocol = evaluation["data"], evaluation["protocol"]
    jitter = protocol["jitter"]
    yield from ("", f"## Evaluation on {data['name']}", "")
    lost = f"no face found in {len(data['no_face'])}, {len(data['unreadable'])} unreadable"
    laid = f", face boxes laid by {protocol['landmark_detector']}" if protocol.get("face_box") == "landmarks" else ""
    yield f"{data['scored']} of {data['samples']} samples; {lost}; detector {protocol['detector']}{laid}."
    yield ""
    head = ["engine/precision", "WAR", "UAR", "log loss", "ECE", "same label as the first"]
    head += ["WAR, moved boxes", "lowest", "log loss, moved boxes"] if jitter else []
    head += ["temperature", "ECE, calibrated"] if protocol["temperature_fitted_on"] else []
    yield from _table(head, [_figures(column) for column in evaluation["columns"]])
    if jitter:
        size = f"shifts up to {jitter['shift']} of the longer side, scales up to e^{jitter['scale']}"
        then = "; then landmarks lay them anew" if laid else ""
        yield from ("", f"Moved boxes: {jitter['draws']} a sample, {size}, seed {jitter['seed']}{then}.")
    if protocol["temperature_fitted_on"]:
        yield from ("", f"Temperature fitted on {protocol['temperature_fitted_on']}.")
    yield ""
    yield from _recall(evaluation)
    for video in evaluation.get("timeline", ()):
        yield from ("", _video(video))
    provenance = evaluation["provenance"]
    versions = ", ".join(
        f"{key} {value}" for key, value in provenance.items() if value and key not in ("date", "cores")
    )
    yield from ("", f"Measured {provenance['date']}: {versions}.")


def _figures(column: Mapping[str, Any]) -> list[str]:
    own, moved, calibrated = column["metrics"], column["jitter"], column["calibrated"]
    cells = [column["name"], _percent(own["war"]), _percent(own["uar"]), f"{own['log_loss']:.3f}", f"{own['ece']:.3f}"]
    cells.append(_percent(column["agreement_with_first"]))
    if moved:
        cells += [_percent(moved["war_mean"]), _percent(moved["war_lowest"]), f"{moved['log_loss_mean']:.3f}"]
    return cells + ([f"{calibrated['temperature']:.3f}", f"{calibrated['ece']:.3f}"] if calibrated else [])


def _recall(evaluation: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for index, label in enumerate(evaluation["labels"]):
        samples = evaluation["data"]["scored_per_class"][label]
        values = [column["metrics"]["recall"][index] for column in evaluation["columns"]]
        rows.append([label, str(samples), *("-" if value is None else _percent(value) for value in values)])
    yield from _table(["recall", "samples", *(column["name"] for column in evaluation["columns"])], rows)


def _video(video: Mapping[str, Any]) -> str:
    runs, expected = (
        ", ".join(f"{run['label']} {run['first']}-{run['last']}" for run in video[key]) for key in ("runs", "expected")
    )
    verdict = "as expected" if video["as_expected"] else f"{len(video['wrong_frames'])} frames are not as expected"
    slack = f"within {video['tolerance_frames']} frames of a change"
    return f"Labels over time, {video['source']}, {video['column']}: {runs}. Expected {expected}: {verdict} ({slack})."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def from_folder(folder: str | Path, name: str) -> str:
    """The card of the weights ``name`` from the JSON files in ``folder``.

    Raises
    ------
    WeightsNotFound
        If there are no training notes or no evaluation.
    CorruptArtifact
        If a file does not read.
    InvalidInput
        As :func:`model_card`.
    """
    folder = Path(folder)
    notes, evaluations = folder / f"{name}.training.json", sorted(folder.glob(f"{name}.evaluation*.json"))
    if not notes.is_file() or not evaluations:
        raise WeightsNotFound(f"expected {notes.name} and {name}.evaluation*.json in {folder}, one is missing")
    try:
        training = json.loads(notes.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptArtifact(f"expected training notes in JSON, got {notes}: {error}") from error
    if not isinstance(training, dict):
        raise CorruptArtifact(f"expected training notes as an object, got {type(training).__name__} in {notes}")
    return model_card(training, [read_json(path) for path in evaluations])
