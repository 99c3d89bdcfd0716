"""The pages of the papers hold the rows that the command runs."""

from __future__ import annotations

import pytest

from bench.paper_pages import FOLDER, MARKER, page
from dfer_edge.reproduce.papers import PAPERS


@pytest.mark.parametrize("number", PAPERS)
def test_pages_are_generated_anew(number: str) -> None:
    text = (FOLDER / f"{number}.md").read_text(encoding="utf-8")
    assert text.count(MARKER) == 1
    assert text == page(PAPERS[number], text), "python -m bench.paper_pages"
    assert all(row.name in text for row in PAPERS[number].rows)


def test_the_audit_counts_its_own_rows() -> None:
    text = (FOLDER / "audit.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[1] != "was"]
    assert {row[2] for row in rows} == {"right", "why not"}
    right = [row for row in rows if row[2] == "right"]
    worst = [row for row in right if row[1] in ("wrong", "missing")]
    assert f"{len(right)} of these {len(rows)}, {75 + len(right)} of all 150" in text
    assert f"28 that were wrong or missing {len(worst)} are right" in text
    assert sum(row[1] in ("wrong", "missing") for row in rows) == 28
    assert all(row[3] for row in rows)
