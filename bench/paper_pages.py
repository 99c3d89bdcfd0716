"""The tables of docs/papers: rows, variants and printed numbers out of :mod:`dfer_edge.reproduce.papers`.

``python -m bench.paper_pages`` writes what stands below the marker of each page; what stands above is prose.
"""

from __future__ import annotations

from pathlib import Path

from dfer_edge.reproduce.papers import PAPERS, Paper, Row
from dfer_edge.training.table import find_recipe

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "papers"
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
    lines += ["", "## Not reproduced", "", *(f"- {line}" for line in paper.open or ("Nothing is left out.",)), ""]
    return "\n".join(lines)


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
