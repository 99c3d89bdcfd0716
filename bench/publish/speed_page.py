"""The tables of docs/speed.md, from the committed results: `python -m bench.publish.speed_page`. Tests check them.

For each device, from its `bench.jsonl`: a row a network with the fastest systems, as ratios to the printed network in
torch eager fp32, which was timed in turns with them; int8, sliding windows and end to end below. Parity on real clips
comes from `parity_*.json`, accuracy of int8 and NNCF from `int8_*.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.bench.report import results
from dfer_edge.bench.report.results import Results, Row
from dfer_edge.inference import registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "speed.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
README_MARKS = ("<!-- latency -->", "<!-- /latency -->")
_SPEED = ("network, random weights", "torch eager: ms", "best fp32: ratio", "best: ratio", "fp32 parity", "same label")
_INT8 = (
    "network, random weights, int8 on OpenVINO",
    "bf16: ratio",
    "int8: ratio",
    "NNCF: ratio",
    "MB",
    "label of fp32",
)
_STEP = ("sliding window", "step / whole clip: time", "multiply-accumulates")
_VIDEO = ("end to end", "frames a second", "live at 25 a second: ms to the label")
_WHOLE = ("`{key}`", "whole clip: ms", "ratio to torch eager")
_GLASS = (
    "system",
    "faces",
    "hop, ms",
    "age p50, ms",
    "p99",
    "engine p50",
    "age less engine, p99",
    "CPU, ms a frame",
    "kept",
    "missed frames",
)
_LATENCY = ("camera to label, ms", "p50", "p99", "of it the network", "six faces, p50", "processor, ms a frame")
_BARS = ("bar", "measured; **bold** misses it")


def _devices() -> tuple[list[Path], Path]:
    """The results of all devices, and of the one with the most."""
    folders = sorted(path for path in (ROOT / "bench" / "results").iterdir() if path.is_dir())
    return folders, max(folders, key=lambda folder: len(list(folder.iterdir())))


def table() -> str:
    """Everything between the markers: the device with the most results in full, the others by a line each."""
    folders, full = _devices()
    others = [brief(folder) for folder in folders if folder != full]
    return "\n\n".join([*device(full), *(part for part in others if part)])


def brief(folder: Path) -> str:
    """Where the tables of a device are, and whether two runs of it agreed; empty without a run."""
    if not (folder / "bench.jsonl").is_file():
        return ""
    found, link = results.read(folder / "bench.jsonl"), f"../bench/results/{folder.name}"
    text = f"Also measured: [`{folder.name}`]({link}/bench.md), {found.provenance['date']}."
    return f"{text} {agreement(folder / 'agreement.json')}".rstrip()


def device(folder: Path) -> list[str]:
    """The tables of one device's results."""
    found = results.read(folder / "bench.jsonl") if (folder / "bench.jsonl").is_file() else None
    parity = {document["provenance"]["model"]: document for document in _documents(folder, "parity")}
    int8 = [int8_row(document) for document in _documents(folder, "int8")]
    parts, link = [], f"../bench/results/{folder.name}"
    if (folder / "claims.md").is_file():
        parts.append(f"The papers' efficiency claims, checked: [claims]({link}/claims.md).")
    if found:
        partial = "" if found.complete else f"; **partial: {found.reason}**"
        parts.append(
            f"[`{folder.name}`]({link}/bench.md), {found.provenance['date']}, {len(found.provenance['pinned_to'])} "
            f"threads, batch 1{partial}. Parity on real clips:\nlargest difference of a probability between the fp32 "
            "engines; how often the fastest engine gives the label of torch fp32 (- where the random weights give all "
            "clips one label)."
        )
        parts.append(agreement(folder / "agreement.json"))
        speed = [speed_row(found, name, parity.get(name)) for name in registry.list_models()]
        parts += [_joined(_SPEED, speed)]
    parts += [_joined(_INT8, int8)]
    if found:
        parts += [
            _joined(_STEP, [step_row(row) for row in _measured(found, "step")]),
            _joined(_VIDEO, video_rows(found)),
        ]
    return [part for part in [*parts, *shipped(folder)] if part]


def shipped(folder: Path) -> list[str]:
    """The tables of the default weights, from `shipped.jsonl`; empty without it."""
    if not (folder / "shipped.jsonl").is_file():
        return []
    found = results.read(folder / "shipped.jsonl")
    facts, whole, glass = found.provenance, _measured(found, "engine"), _measured(found, "glass")
    (key,) = {row.config["network"] for row in (*whole, *glass)}
    loads = [row.extra["load_before"] for row in glass]
    schedulers = " and ".join(sorted({row.extra["scheduler"] for row in glass}))
    text = (
        f"**Default weights**, [`{folder.name}`](../bench/results/{folder.name}/shipped.md), {facts['date']}, "
        f"{len(facts['pinned_to'])} threads; scheduling: {schedulers}, on a machine with a load of {min(loads):.0f} to "
        f"{max(loads):.0f} by others. Glass to label: a 640x360 camera of {glass[0].extra['camera_frames_per_s']:g} "
        "frames a second whose frames carry their moment in the pixels; age is from there to the observation."
    )
    heads = [_WHOLE[0].format(key=key), *_WHOLE[1:]]
    clips = [_line(_system(row), f"{row.latency_ms['p50']:.0f}", f"**{row.ratio_p50:.2f}**") for row in whole]
    return [
        text,
        _joined(heads, clips),
        _joined(_VIDEO, video_rows(found)),
        _joined(_GLASS, [glass_row(row) for row in glass]),
        _joined(_BARS, bars({row.id.split("/", 2)[2]: row for row in glass})),
    ]


def latency() -> str:
    """Camera to label on OpenVINO, for README: one face and six."""
    rows = results.read(_devices()[1] / "shipped.jsonl").rows
    glass = {name.split("/", 2)[2]: row for name, row in rows.items() if row.group == "glass" and row.ok}
    lines = []
    for precision in ("fp32", "bf16", "int8"):
        one, six = (glass.get(f"openvino/{precision}/f{faces}") for faces in (1, 6))
        if one is None:
            continue
        more = "-" if six is None else f"{six.latency_ms['p50']:.1f}"
        figures = [one.latency_ms["p50"], one.latency_ms["p99"], one.extra["engine_ms"]["p50"]]
        cost = one.extra["processor_ms_a_frame"]
        lines.append(_line(f"openvino {precision}", *(f"{value:.1f}" for value in figures), more, f"{cost:.1f}"))
    return _joined(_LATENCY, lines)


def bars(glass: Mapping[str, Row]) -> list[str]:
    """What was asked for beside what was measured, of rows by engine, precision and case (``openvino/bf16/f1``)."""
    ones = {name.removesuffix("/f1"): row for name, row in glass.items() if name.endswith("/f1")}
    beside = {name: row.extra["beside_engine_ms"]["p99"] for name, row in ones.items() if name.startswith("openvino/")}
    kept = {name: row.extra["kept"] for name, row in glass.items() if "kept" in row.extra}
    cost = {name: row.extra["processor_ms_a_frame"] for name, row in glass.items()}
    six = {name: cost[f"{name}/f6"] / cost[f"{name}/f1"] for name in ones if f"{name}/f6" in cost}
    return [
        _bar("one face, age less engine, p99: at most 5 ms", beside, "{:.1f}", lambda value: value <= 5),
        _bar("results within the deadline: at least 99 %", kept, "{:.2%}", lambda value: value >= 0.99),
        _bar("processor time of six faces by that of one: at most 2.5", six, "{:.2f}", lambda value: value <= 2.5),
    ]


def _bar(what: str, found: Mapping[str, float], pattern: str, is_met: Callable[[float], bool]) -> str:
    """A line with every system, in bold what misses the bar; empty if nothing was measured."""
    told = [f"{name} {pattern.format(value)}" for name, value in found.items()]
    marked = [text if is_met(value) else f"**{text}**" for text, value in zip(told, found.values(), strict=True)]
    return _line(what, ", ".join(marked)) if found else ""


def glass_row(row: Row) -> str:
    """From capture to label."""
    age, extra = row.latency_ms, row.extra
    kept = f"{extra['kept']:.2%} within {extra['deadline_ms']:g} ms" if "kept" in extra else "-"
    return _line(
        _system(row),
        str(row.config["faces"]),
        f"{extra['hop_s'] * 1e3:g}",
        *(f"{value:.1f}" for value in (age["p50"], age["p99"], extra["engine_ms"]["p50"])),
        f"**{extra['beside_engine_ms']['p99']:.1f}**",
        f"{extra['processor_ms_a_frame']:.1f}",
        kept,
        f"{extra['missed_frames']} of {extra['seconds'] * extra['camera_frames_per_s']:.0f}",
    )


def agreement(path: Path) -> str:
    """What the second of two runs on the device said; empty if there was none."""
    if not path.is_file():
        return ""
    found = json.loads(path.read_text())
    kinds = ", ".join(f"{kind} {median:.3f}" for kind, median in found["median_factor_by_kind"].items())
    largest = found["largest_difference"]
    minutes = " and ".join("?" if value is None else f"{value:.0f}" for value in found["minutes"])
    problems = f" **{len(found['problems'])} problems.**" if found["problems"] else ""
    if largest is None:
        return f"Two runs of the suite:{problems}"
    kind = "quick runs" if found.get("quick") else "runs"
    return (
        f"Two {kind} of the suite ({minutes} minutes), the second against the first: median factor "
        f"{found['median']:.3f} over {found['cases']} cases; by kind {kinds}. The largest difference is "
        f"{largest['factor']:.2f} times, of `{largest['id']}`.{problems}"
    )


def speed_row(found: Results, name: str, parity: Mapping[str, Any] | None) -> str:
    """The row of one network; empty if it was not measured."""
    base = found.rows.get(f"network/{name}/torch-eager")
    systems = {_system(row): row for row in _measured(found, "engine") if row.config["network"] == name}
    exact = {key: row for key, row in systems.items() if key.endswith("fp32") and row.config["batch"] == 1}
    # int8 has a table of its own, with what it costs.
    floats = {key: row for key, row in systems.items() if not key.endswith("int8") and row.config["batch"] == 1}
    if base is None or not base.ok or not exact:
        return ""
    best_exact = min(exact, key=lambda key: exact[key].ratio_p50 or 0)
    best = min(floats, key=lambda key: floats[key].ratio_p50 or 0)
    apart, same = _parity(parity, best)
    ratios = [f"{exact[best_exact].ratio_p50:.2f} {best_exact}", f"**{floats[best].ratio_p50:.2f}** {best}"]
    return _line(f"`{name}`", f"{base.latency_ms['p50']:.0f}", *ratios, apart, same)


def _parity(document: Mapping[str, Any] | None, best: str) -> tuple[str, str]:
    if document is None:
        return "-", "-"
    rows = {row["second"]: row for row in document["parity_against_torch_fp32"]}
    apart = max(row["max_abs"] for key, row in rows.items() if key.endswith("fp32"))
    # Where every clip has the same label, agreement says nothing.
    if best not in rows or rows[best]["labels_seen"] < 2:
        return f"{apart:.0e}", "-"
    return f"{apart:.0e}", f"{rows[best]['top1_agreement']:.1%} of {rows[best]['samples']}"


def int8_row(document: Mapping[str, Any]) -> str:
    """OpenVINO in int8 beside bf16 and NNCF's quantisation, and the label that it keeps; empty without speeds."""
    if "int8_speed" not in document:
        return ""
    ratio = {key: values["ratio_p50"] for key, values in document["int8_speed"].items()}
    own, peer = "openvino/int8, unsigned", ratio.get("openvino/int8, NNCF")
    kept = document.get("accuracy_against_fp32", {}).get(own)
    return _line(
        f"`{document['provenance']['model']}`",
        f"{ratio['openvino/bf16']:.2f}",
        f"**{ratio[own]:.2f}**",
        f"{peer:.2f}" if peer else "-",
        f"{document['file_mb']['unsigned']:.0f}",
        f"{kept['top1_agreement']:.1%} of {kept['clips']}" if kept else "not measured",
    )


def step_row(row: Row) -> str:
    """One step of a sliding window against the whole clip."""
    return _line(f"{row.config['model']} {_system(row)}", f"{row.ratio_p50:.2f}", f"{row.cost['macs_ratio']:.2f}")


def video_rows(found: Results) -> list[str]:
    """A video file and a live stream, by system."""
    live = {_system(row): row for row in _measured(found, "live")}
    lines = []
    for row in _measured(found, "video"):
        beside = live.get(_system(row))
        delay = f"{beside.latency_ms['p50']:.0f}" if beside else "-"
        lines.append(_line(f"{row.config['model']} {_system(row)}", f"{row.samples_per_s:.0f}", delay))
    return lines


def _measured(found: Results, group: str) -> list[Row]:
    return [row for row in found.rows.values() if row.group == group and row.ok]


def _system(row: Row) -> str:
    return f"{row.config['engine']}/{row.config['precision']}"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _joined(heads: Sequence[str], rows: list[str]) -> str:
    kept = [row for row in rows if row]
    return "\n".join([_line(*heads), "|---" * len(heads) + "|", *kept]) if kept else ""


def _documents(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{kind}_*.json"))]


def spliced(page: str) -> str:
    """``page`` with the tables in place: those of docs/speed.md, and the short one of README."""
    return _between(_between(page, BEGIN, END, table), *README_MARKS, latency)


def _between(page: str, begin: str, end: str, text: Callable[[], str]) -> str:
    if begin not in page:
        return page
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{text()}\n{end}{tail}"


def write() -> None:
    """Put the tables into the pages."""
    for page in (PAGE, README):
        page.write_text(spliced(page.read_text()))


if __name__ == "__main__":
    write()
