"""The README keeps its word: snippets run, links lead somewhere, commands exist, the table matches the code."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

import dfer_edge
from bench.readme import BEGIN, END, spliced
from dfer_edge.bench.plan import Plan
from dfer_edge.cli.main import parser
from dfer_edge.engines import BEST_FORM
from dfer_edge.models import list_models
from tests.conftest import ASTRONAUT, ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_is_short() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("snippet", blocks("python"))
def test_snippets_run(
    snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shutil.copy(ASTRONAUT, tmp_path / "video.mp4")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_there_are_snippets() -> None:
    assert blocks("python")


def test_commands_parse() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("dfer-edge ")]
    assert lines
    for line in lines:
        parser().parse_args(shlex.split(line, comments=True)[1:])


PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "csrc/README.md")),
    *sorted(ROOT.glob("kernels/*/README.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_pages_name_exists(page: Path) -> None:
    """Attributes of the package, modules after ``python -m``, cases after ``--only``, files in code marks."""
    text = page.read_text()
    modules = {name for name in re.findall(r"python -m ([\w.]+)", text) if name.split(".")[0] in ("bench", "dfer_edge")}
    assert not [name for name in modules if importlib.util.find_spec(name) is None]
    for pattern in re.findall(r"--only '?([\w/*-]+)", text):
        Plan(threads=1, only=(pattern,))  # refuses what fits no case
    assert set(re.findall(r"`dfer_edge\.([A-Za-z]\w*)", text)) <= set(dir(dfer_edge))
    files = re.findall(r"`((?:bench|csrc|kernels|tests|dfer_edge|calibration)/[\w./*-]+)`", text)
    assert not [name for name in files if not any(ROOT.glob(re.sub("OP|NAME|DEVICE", "*", name)))]


def test_extras_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    paragraph = README.partition("Extras:")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z][a-z-]*)`", paragraph)) == set(extras)


def test_make_targets_named_in_the_readme_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert named <= set(targets)


def test_speed_table_is_what_the_results_say() -> None:
    assert spliced(README) == README
    assert "slowr50_sa" in README.partition(BEGIN)[2].partition(END)[0]


def test_support_table_names_every_model_and_engine() -> None:
    for name in (*list_models(), *BEST_FORM):
        assert f"`{name}`" in README or f"| {name}" in README, name
