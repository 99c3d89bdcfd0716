"""The tables of docs/papers: rows, variants and printed numbers out of :mod:`dfer_edge.reproduce.papers`, and what was
measured of them out of ``bench/results``.

``python -m bench.paper_pages`` writes what stands below the marker of each page; what stands above is prose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.studies.working_forms.table import table
from dfer_edge.reproduce.papers import PAPERS, Paper, Row
from dfer_edge.training.table import find_recipe

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "papers"
RESULTS = FOLDER.parents[1] / "bench" / "results"
MARKER = "<!-- Below: python -m bench.paper_pages -->"


def generated(paper: Paper) -> str:
    """The part of a page below the marker."""
    lines = [
        "## Rows",
        "",
        "`dfer-edge reproduce " + paper.number + " --variant NAME` runs one; per cent, as printed.",
        "",
    ]
    lines += ["| table | variant | network | data | WAR | UAR | changes of the recipe | note |"]
    lines += ["|---|---|---|---|---|---|---|---|", *(_cells(row) for row in paper.rows)]
    lines += ["", "## Recipes", ""]
    for model in dict.fromkeys(row.model for row in paper.rows):
        recipe = find_recipe("paper", model)
        stages = "; ".join(
            f"{stage.epochs} epochs of batch {stage.batch}, {stage.optimiser.name} at {stage.optimiser.lr:g}, "
            f"sampling {stage.sampling.name}"
            for stage in recipe.stages
        )
        start = recipe.pretrained or "noise"
        crop = f"box by {recipe.face_box or 'detector'}{', levelled' if recipe.level else ''}"
        lines.append(f"- `{model}`: {stages}; starts from {start}; {crop}; best epoch by {recipe.select.upper()}.")
    lines += [*_measured(paper.number), *_working_forms(paper.number)]
    lines += ["", "## Not reproduced", "", *(f"- {line}" for line in paper.open or ("Nothing is left out.",)), ""]
    return "\n".join(lines)


def _measured(number: str) -> list[str]:
    """Tables of ``reproduce``, whatever they are of: what keeps them from being the paper's stands above each."""
    lines: list[str] = []
    for path in sorted(RESULTS.glob(f"*/reproduce_{number}.json")):
        content: dict[str, Any] = json.loads(path.read_text())
        link = f"../../bench/results/{path.parent.name}/{path.stem}.md"
        lines += ["", f"## Measured on {path.parent.name}", "", *(f"- {line}" for line in content["warnings"]), ""]
        lines += [
            f"[The whole table]({link}), {content['provenance']['date']}. Per cent, mean over folds; chance is the"
        ]
        lines += ["reciprocal of the number of classes; *inner* is the epoch chosen on people who are not tested.", ""]
        lines += [
            "| variant | stands in for | WAR printed | ours | inner | UAR printed | ours | inner | folds | tested |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|---|"]
        lines += [_measured_cells(row) for row in content["rows"] if row["runs"]]
    return lines


def _measured_cells(row: dict[str, Any]) -> str:
    cells = [row["row"]["name"], row["row"]["data"]]
    for name in ("war", "uar"):
        printed = row["row"]["printed"].get(name)
        cells.append("-" if printed is None else f"{printed:.2f}")
        cells += [f"{row['ours'][f'{choice}_{name}']['mean']:.1f}" for choice in ("on_test", "on_inner")]
    cells += [str(len(row["runs"])), f"{sum(run['clips']['test'] for run in row['runs'])} clips"]
    return "| " + " | ".join(cells) + " |"


def _working_forms(number: str) -> list[str]:
    lines: list[str] = []
    for path in sorted(RESULTS.glob("*/working_forms.json")):
        content: dict[str, Any] = json.loads(path.read_text())
        if pairs := [pair for pair in content["pairs"] if pair["paper"] == number]:
            link = f"../../bench/results/{path.parent.name}/working_forms.md"
            lines += ["", "## The dead part and its working form", ""]
            lines += [
                f"Small networks learn from the same renders and seeds, renders and real people judge ([all]({link}));"
            ]
            lines += ["a difference that changes its sign from seed to seed is none.", "", table({"pairs": pairs})]
    return lines


def _cells(row: Row) -> str:
    printed = [f"{row.printed[name]:.2f}" if name in row.printed else "-" for name in ("war", "uar")]
    changes = ", ".join(f"`{field}={value}`" for field, value in row.changes) or "-"
    return "| " + " | ".join((row.table, row.name, row.model, row.data, *printed, changes, row.note or "-")) + " |"


def page(paper: Paper, text: str) -> str:
    """``text`` with its generated part replaced."""
    return f"{text.split(MARKER)[0]}{MARKER}\n\n{generated(paper)}"


def main() -> None:
    """Rewrite the pages."""
    for number, paper in PAPERS.items():
        path = FOLDER / f"{number}.md"
        path.write_text(page(paper, path.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
