"""The Markdown table of runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.studies.real_people.judge import by_set, names, paired, sequences, summary
from bench.studies.real_people.run import Run

_FIGURES = {"uar": "**mean UAR**", "log_loss": "mean log loss", "ece": "mean ECE"}


def table(runs: Sequence[Run]) -> str:
    """One table a group: UAR by set, means, recalls by class, sequences, and each run against the first, paired."""
    lines: list[str] = []
    for group in names(runs[0].rows, "group"):
        columns = [run for run in runs if any(row.group == group for row in run.rows)]
        lines += [f"### {group}", "", *_group(columns, group), ""]
    return "\n".join(lines)


def _group(runs: Sequence[Run], group: str) -> Iterator[str]:
    yield from _row("", [run.name for run in runs])
    yield from _row("---", ["---:"] * len(runs))
    judged, means = [by_set(run, group) for run in runs], [summary(run, group) for run in runs]
    for name in judged[0]:
        cells = [f"{_percent(own[name].uar)}{_lost(own[name].lost)}" if name in own else "-" for own in judged]
        yield from _row(f"{name} ({judged[0][name].samples})", cells)
    for key, heading in _FIGURES.items():
        cells = [_percent(mean[key]) if key == "uar" else f"{mean[key]:.3f}" for mean in means]
        yield from _row(heading, cells)
    for label in means[0]["recall"]:
        yield from _row(f"recall {label}", [_share(mean["recall"], label) for mean in means])
    times = [run.provenance.get("engine_ms_median") for run in runs]
    yield from _row("engine, ms a sample", ["-" if ms is None else f"{ms:.1f}" for ms in times])
    single = [sequences(run, group) for run in runs]
    for name in single[0]:
        cells = [
            f"{_percent(own[name]['clip_uar'])} / {_percent(own[name]['frames_uar'])}" if name in own else "-"
            for own in single
        ]
        yield from _row(f"{name}: clip / mean of frames", cells)
    if len(runs) > 1:
        yield from _row("against the first, paired", ["", *(_against(runs[0], run, group) for run in runs[1:])])


def _row(head: str, cells: Sequence[str]) -> Iterator[str]:
    yield f"| {head} | {' | '.join(cells)} |"


def _against(first: Run, other: Run, group: str) -> str:
    found = paired(first, other, group)
    return f"{100 * found['difference']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _lost(count: int) -> str:
    return f" ({count} lost)" if count else ""


def _share(recall: dict[str, Any], label: str) -> str:
    return _percent(recall[label]) if label in recall else "-"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
