"""The figures of the pairs as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def table(document: Mapping[str, Any]) -> str:
    """Markdown: the mean over the seeds, and how far ours lies from the printed form seed by seed."""
    lines = ["| paper | form | judged by | figure | mean of the seeds | less the printed form, seed by seed |"]
    lines.append("|---|---|---|---|---|---|")
    for pair in document["pairs"]:
        printed, *_ = pair["seeds"][0]
        for form in pair["seeds"][0]:
            for test, figures in pair["seeds"][0][form].items():
                for figure in figures:
                    own, base = (
                        np.array([run[name][test][figure] for run in pair["seeds"]]) for name in (form, printed)
                    )
                    digits = 3 if figure == "log_loss" else 1
                    apart = "-" if form == printed else ", ".join(f"{one:+.{digits}f}" for one in own - base)
                    lines.append(
                        f"| {pair['paper']} | {form} | {test} | {figure} | {own.mean():.{digits}f} | {apart} |"
                    )
    return "\n".join(lines)


def page(document: Mapping[str, Any]) -> str:
    """The table with what it is of."""
    lines = ["# The four dead parts and their working forms, in pairs", ""]
    lines += [
        "Made by `python -m bench.studies.working_forms`; do not edit. RENDERED faces are learnt from; renders of other"
    ]
    lines += [
        "people and real people judge. UAR and direction in per cent, the log loss natural. Small networks, few seeds:"
    ]
    lines += ["a difference that changes its sign from seed to seed is none.", ""]
    for pair in document["pairs"]:
        tests = ", ".join(f"{count} of {name}" for name, count in pair["tests"].items())
        learnt = f"{pair['inputs']} inputs, {pair['epochs']} epochs at {pair['rate']}"
        lines.append(f"- {pair['paper']}, {pair['part']}: {learnt}; judged by {tests}.")
    made = ", ".join(f"{key} {value}" for key, value in document["provenance"].items() if value)
    return "\n".join([*lines, "", table(document), "", made, ""])
