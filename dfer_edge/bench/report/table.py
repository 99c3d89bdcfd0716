"""Results as Markdown: tables for people, with the provenance above and the missing below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dfer_edge.bench.measure.peaks import AGREE
from dfer_edge.bench.measure.sensors import joules_of
from dfer_edge.bench.report.results import HERE, UNAVAILABLE, Results, Row

_FACTS = ("processor", "board", "gpu", "kernel", "python", "numpy", "onnxruntime", "openvino", "torch", "tensorrt")


def markdown(results: Results) -> str:
    """The whole page."""
    rows = list(results.rows.values())
    parts = [
        f"# Bench of {results.provenance['device']}",
        "Made by `dfer-edge bench`; do not edit. The JSON lines beside this page have everything, each with the "
        "command that measures it again.",
        _provenance(results),
    ]
    if not results.complete:
        parts.append(f"**Partial: {results.reason}.** The rows below are good; others were not reached.")
    parts += [part for part in (_peaks(results.peaks), *(section(kind, rows) for kind in SECTIONS)) if part]
    return "\n\n".join([*parts, _missing(rows), _commands(rows)]).rstrip() + "\n"


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits, ``-`` for what was not measured."""
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def section(kind: str, rows: Sequence[Row]) -> str:
    """The table of one kind of cases; empty without any that ran."""
    title, groups, heads, cells = SECTIONS[kind]
    measured = [row for row in rows if row.group in groups and row.ok]
    return f"## {title}\n\n{grid(heads, map(cells, measured))}" if measured else ""


def _engine(row: Row) -> list[str]:
    config = row.config
    accuracy = row.accuracy
    why = " ".join(accuracy.get("not_evaluated", "").split())
    none = f"not evaluated: {why}" if why else "-"
    elsewhere = "" if accuracy.get("source", HERE) == HERE else " (shipped)"
    war = f"{accuracy['war']:.1%} of {accuracy['samples']}{elsewhere}" if "war" in accuracy else none
    joules = joules_of(row.energy, config.get("device", "cpu"))
    p50, cold = row.latency_ms.get("p50"), row.cold_ms.get("p50")
    name = f"{config['engine']}/{config['precision']}" + (
        " *" if config.get("ranges", "").startswith("ranges from") else ""
    )
    return [
        f"`{config['network']}`",
        name,
        str(config["batch"]),
        *map(number, (p50, row.latency_ms.get("p90"), row.latency_ms.get("p99"), cold)),
        number(row.samples_per_s),
        number(row.ratio_p50, 2),
        f"{row.gate.get('relative', 0.0):.0e}",
        war,
        number(joules),
        str(row.latency_ms["samples"]),
    ]


def _kernel(row: Row) -> list[str]:
    _, op, name = row.id.split("/", 2)
    bar = row.extra.get("bar", {})
    promise = f"{bar['at_least']:.3g}: {'met' if bar['met'] else 'NOT MET'}" if "at_least" in bar else "-"
    times = (row.latency_ms.get("p50"), row.cold_ms.get("p50"), row.ratio_p50)
    return [f"`{op}`", name, *map(number, times), promise]


def _gpu_kernel(row: Row) -> list[str]:
    _, op, name = row.id.split("/", 2)
    bars = {"floor": row.extra["bar"] | {"ratio": row.extra["share_of_floor"]}} if "bar" in row.extra else {}
    bars |= row.extra.get("rivals", {})
    promises = [f"{of} {bar['at_least']:.3g}: {'met' if bar['met'] else 'NOT MET'}" for of, bar in bars.items()]
    return [
        f"`{op}`",
        name,
        *map(number, (row.latency_ms.get("p50"), row.extra["share_of_floor"])),
        ", ".join(promises) or "-",
        ", ".join(f"{board} {share:.2f}" for board, share in row.extra.get("share_at_most", {}).items()) or "-",
    ]


def _scenario(row: Row) -> list[str]:
    config, extra = row.config, row.extra
    note = f" ({extra['note']})" if "note" in extra else ""
    rule = {"Server": f"p99 within {extra.get('bound_ms')} ms{note}", "MultiStream": "8 samples a query"}
    metric = {"Server": row.samples_per_s, "Offline": row.samples_per_s, "MultiStream": row.latency_ms.get("p99")}
    unit = "p99, ms" if row.scenario == "MultiStream" else "samples/s"
    value = metric[row.scenario]
    shown = f"{number(value)} {unit}" if value is not None else f"- ({row.latency_ms['samples']} queries: too few)"
    rate = number(row.samples_per_s)
    engine = f"{config['engine']}/{config['precision']}"
    return [f"`{config['network']}`", engine, row.scenario, rule.get(row.scenario, "all at once"), shown, rate]


def _step(row: Row) -> list[str]:
    whole = row.stages_ms["whole clip"]
    name = f"{row.config['engine']}/{row.config['precision']}"
    times = (row.latency_ms["p50"], whole, row.ratio_p50, row.cost["macs_ratio"])
    return [f"`{row.config['model']}`", name, *map(number, times)]


def _video(row: Row) -> list[str]:
    stages = ", ".join(f"{name} {number(ms)}" for name, ms in row.stages_ms.items() if name != "total")
    if row.group == "live":
        stages = f"{row.extra['camera_frames_per_s']:g} frames/s, keeps up: {'yes' if row.extra['keeps_up'] else 'NO'}"
    name = f"{row.config['engine']}/{row.config['precision']}" if "engine" in row.config else row.config["pipeline"]
    times = (row.latency_ms.get("p50"), row.latency_ms.get("p90"), row.samples_per_s)
    return [row.group, name, *map(number, times), stages or "-"]


def _glass(row: Row) -> list[str]:
    config, extra = row.config, row.extra
    age, beside, engine = row.latency_ms, extra["beside_engine_ms"], extra["engine_ms"]
    deadline = f"{extra['deadline_ms']:g} ms: {extra['kept']:.1%}" if "kept" in extra else "-"
    stages = {name: ms for name, ms in row.stages_ms.items() if name != "total"}
    if "total" in row.stages_ms:
        # Between the threads, and what makes the observation.
        stages["the rest"] = max(0.0, row.stages_ms["total"] - sum(stages.values()))
    return [
        f"{config['engine']}/{config['precision']}",
        str(config["faces"]),
        f"{extra['hop_s'] * 1e3:g}",
        *map(number, (age.get("p50"), age.get("p99"), engine.get("p50"), engine.get("p99"), beside.get("p99"))),
        number(extra["processor_ms_a_frame"]),
        ", ".join(f"{name} {number(ms)}" for name, ms in stages.items()) or "-",
        str(extra["missed_frames"]),
        deadline,
        f"{extra['scheduler']}, {number(extra['load_before'])}",
        f"{age['samples']}",
    ]


def _overhead(row: Row) -> list[str]:
    found = row.extra["microseconds_per_query"]
    bar = row.extra["bar"]
    return [
        ", ".join(f"{k} {number(v)}" for k, v in found.items()),
        f"{bar['at_most']:g}: {'met' if bar['met'] else 'NOT MET'}",
    ]


SECTIONS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], Any]] = {
    "engine": (
        "Networks (one query at a time; ratio of time a sample to the network's first system; * ranges from noise; "
        "WAR (shipped): not measured here, from the evaluation that comes with the weights)",
        ("network", "engine"),
        (
            "network",
            "system",
            "batch",
            "p50 ms",
            "p90",
            "p99",
            "cold p50",
            "samples/s",
            "ratio",
            "gate",
            "WAR",
            "J",
            "n",
        ),
        _engine,
    ),
    "scenario": (
        "MLPerf scenarios",
        ("scenario",),
        ("network", "system", "scenario", "rule", "metric", "samples/s"),
        _scenario,
    ),
    "step": ("Sliding windows", ("step",), ("network", "system", "step p50 ms", "whole clip", "ratio", "MACs"), _step),
    "video": (
        "End to end (ms a video; of live: ms from the camera's frame to the observation)",
        ("video", "live", "pipeline"),
        ("case", "system", "p50 ms", "p90", "frames/s", "stages, ms"),
        _video,
    ),
    "glass": (
        "Glass to label at 640x360, ms; an observation a frame where the hop is 0",
        ("glass",),
        (
            "system",
            "faces",
            "hop",
            "age p50",
            "p99",
            "engine p50",
            "p99",
            "age - engine, p99",
            "CPU ms a frame",
            "stages p50",
            "missed frames",
            "kept",
            "scheduler, load before",
            "n",
        ),
        _glass,
    ),
    "kernel": (
        "Kernels (one core, CPU time; ratio to ours)",
        ("kernel",),
        ("operation", "implementation", "p50 ms", "cold p50", "ratio", "bar"),
        _kernel,
    ),
    "kernel-cuda": (
        "Kernels on the GPU (device events; share of the speed of a plain copy of the bytes that must move)",
        ("kernel-cuda",),
        ("operation", "implementation", "p50 ms", "share of the floor", "bars", "at most, by bytes and instructions"),
        _gpu_kernel,
    ),
    "overhead": ("The harness itself", ("overhead",), ("us a query", "bar, us"), _overhead),
}


def _provenance(results: Results) -> str:
    facts = results.provenance
    versions = ", ".join(f"{name} {facts[name]}" for name in _FACTS if facts.get(name))
    mode = facts["state"].get("power_mode") or "none"
    sensors = ", ".join(facts["energy_sensors"]) or "none readable"
    pinned = f"{len(facts['pinned_to'])} of {facts['cores']} cores"
    took = f" Took {results.minutes:.0f} minutes." if results.minutes is not None else ""
    return (
        f"{versions}; {', '.join(facts['features'])}; pinned to {pinned}; power mode: {mode}; energy: {sensors}; load "
        f"before: {facts['load_before'][0]}; {facts['date']}, commit {facts['commit'] or 'of a wheel'}.{took}\n\n"
        f"    {facts['command']}"
    )


def _peaks(peaks: dict[str, Any]) -> str:
    if not peaks:
        return ""
    ratios = peaks["witness"].get("ratio", {})
    rows = [
        [name, f"{rate / 1e9:.0f} GFLOP/s", peaks["sources"][name], _agreement(ratios.get(name))]
        for name, rate in peaks["flops"].items()
    ]
    moved = [
        [
            "copy",
            f"{peaks['bytes_per_s'] / 1e9:.1f} GB/s",
            peaks["sources"]["bytes_per_s"],
            _agreement(ratios.get("bytes_per_s")),
        ]
    ]
    return f"## Peaks of this machine, {peaks['threads']} threads\n\n" + grid(
        ("peak", "measured", "by", f"ratio to the witness (bar: {AGREE:.0%} either way)"), rows + moved
    )


def _agreement(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{number(ratio)}: {'met' if 1 - AGREE <= ratio <= 1 + AGREE else 'NOT MET'}"


def _commands(rows: Sequence[Row]) -> str:
    """What measures each row again."""
    commands = dict.fromkeys(row.command for row in rows if row.ok and row.command)
    return "## Commands\n\n" + "\n".join(f"    {command}" for command in commands) if commands else ""


def _missing(rows: Sequence[Row]) -> str:
    """What did not run, by reason."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if not row.ok:
            label = "" if row.status == UNAVAILABLE else f"{row.status.upper()}: "
            reasons.setdefault(label + row.reason, []).append(row.id)
    if not reasons:
        return ""
    lines = [f"- {reason}: {', '.join(f'`{name}`' for name in names)}" for reason, names in sorted(reasons.items())]
    return "## Not measured\n\n" + "\n".join(lines)
