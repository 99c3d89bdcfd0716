"""The pages of docs/boards, from the roofline and the committed results: `python -m bench.publish.boards`."""

from __future__ import annotations

from pathlib import Path

from dfer_edge.bench.report import boards, results

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "boards"


def pages() -> dict[str, str]:
    """File name -> content."""
    measured = [results.read(path) for path in sorted((ROOT / "bench" / "results").glob("*/bench.jsonl"))]
    return {f"{page.file}.md": boards.markdown(page, measured) for page in boards.PAGES}


def write() -> None:
    """Write every page."""
    for name, content in pages().items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    write()
