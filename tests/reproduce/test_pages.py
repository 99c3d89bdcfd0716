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
