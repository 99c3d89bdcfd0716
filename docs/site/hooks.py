"""Hooks of the site: pages that live outside docs/ join it where they are, and links that leave it are told apart.

Markdown in the repository links by path, so that it reads in an editor and on any host. Here each link is resolved from
the file's own place: to a page of the site if there is one, to the text alone if the target is code.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Outside docs/, by place in the repository: what pages link to.
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "csrc/README.md",
    "examples/README.md",
    "kernels/*/README.md",
    "dfer_edge/assets/**/*.md",
    "bench/results/**/*.md",
    "bench/results/**/*.png",
)
_LINK = re.compile(
    r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<path>(?!https?:|#|mailto:)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def on_files(files: Files, config: Any) -> Files:
    """README is the first page; the rest keeps its place."""
    readme = File.generated(config, "index.md", content=(ROOT / "README.md").read_text())
    files.append(readme)
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Links by place in the repository become links of the site."""
    here = page.file.src_uri
    source = "README.md" if here == "index.md" else here if _is_outside(here) else f"docs/{here}"

    def replaced(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        uri = "index.md" if target == "README.md" else target.removeprefix("docs/")
        if files.get_file_from_path(uri) is not None:
            link = posixpath.relpath(uri, posixpath.dirname(here) or ".")
            # A picture that is itself a link has a link within its text.
            text = match["text"].removesuffix("]")
            return f"{_LINK.sub(replaced, text)}]({link}{match['anchor'] or ''})"
        if (ROOT / target).exists():
            text = match["text"].lstrip("!")[1:-1]
            return text if "`" in text or text == target else f"{text} (`{target}`)"
        return match[0]  # broken: the strict build says so

    return _LINK.sub(replaced, markdown)


def _is_outside(uri: str) -> bool:
    return not (ROOT / "docs" / uri).exists()
