"""README and docs keep their word: snippets run, links lead somewhere, commands exist, tables match the results."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

import dfer_edge
from bench.publish.speed_page import BEGIN, END, PAGE, README_MARKS, spliced
from dfer_edge._names import MOVED
from dfer_edge.bench.plan import Plan
from dfer_edge.cli.main import parser
from dfer_edge.engines import BEST_FORM
from dfer_edge.models import list_models
from tests.conftest import ASTRONAUT, ROOT

README = ROOT / "README.md"
DOCS = [README, *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [
    *DOCS,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "csrc/README.md")),
    *sorted(ROOT.glob("docs/*/*.md")),
    ROOT / "examples" / "README.md",
    *sorted(ROOT.glob("kernels/*/README.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


SNIPPETS = [
    pytest.param(page, snippet, id=f"{page.stem}-{position}")
    for page in DOCS
    for position, snippet in enumerate(blocks(page, "python"))
]


def test_first_page_is_short_and_shows_something() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 80
    moving = README.parent / re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)[0]
    assert moving.stat().st_size < 1_500_000
    assert moving.read_bytes()[:4] + moving.read_bytes()[8:12] == b"RIFFWEBP"
    assert b"ANIM" in moving.read_bytes()[:64]


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS)
def test_snippets_run(
    page: Path, snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    code = compile(snippet, page.name, "exec")
    for copy in (tmp_path / "video.mp4", tmp_path / ASTRONAUT.relative_to(ROOT)):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ASTRONAUT, copy)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out


def test_there_are_snippets() -> None:
    assert blocks(README, "python")
    assert {page for page in DOCS if blocks(page, "python")} > {README}


def test_commands_parse() -> None:
    lines = [line for page in DOCS for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("dfer-edge ")]
    assert commands
    for line in commands:
        parser().parse_args(shlex.split(line, comments=True)[1:])


def _of_command(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser that the words lead to, and the words after its name."""
    found = parser()
    while True:
        below = next((a.choices for a in found._actions if isinstance(a, argparse._SubParsersAction)), {})
        if not words or words[0] not in below:
            return found, words
        found, words = below[words[0]], words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_pages_name_exist(page: Path) -> None:
    """In the running text and in indented lines too."""
    text = page.read_text().replace("\\\n", " ")
    unknown = []
    for line in re.findall(r"dfer-edge ([a-z][^\n`|#]*)", text):
        command, words = _of_command(line.split())
        known = {option for action in command._actions for option in action.option_strings}
        named = {word.split("=")[0].rstrip(".,;:)") for word in words if word.startswith("--")}
        unknown += [(line, name) for name in named - known]
    assert not unknown


def test_every_command_is_on_the_page_of_use() -> None:
    shown = {line.split()[1] for block in blocks(ROOT / "docs" / "usage.md", "sh") for line in block.splitlines()}
    (commands,) = parser()._subparsers._group_actions  # type: ignore[union-attr]
    assert shown == set(commands.choices)  # type: ignore[arg-type]


def test_every_page_is_reached_from_the_first() -> None:
    """By links alone; of the API pages one leads to the others by the site's menu."""
    reached, ahead = set(), [README]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.exists():
            reached.add(page)
            ahead += [(page.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+\.md)", page.read_text())]
    assert {page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "api"} <= reached
    assert reached & set(ROOT.glob("docs/api/*.md"))


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
    old = {name.split(".")[1] for name in MOVED} if page.name == "CHANGELOG.md" else set()
    assert set(re.findall(r"`dfer_edge\.([A-Za-z]\w*)", text)) <= set(dir(dfer_edge)) | old
    files = re.findall(r"`((?:bench|csrc|kernels|tests|dfer_edge|calibration)/[\w./*-]+)`", text)
    assert not [name for name in files if not any(ROOT.glob(re.sub("OP|NAME|DEVICE", "*", name)))]


def test_extras_are_those_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "docs" / "install.md").read_text()
    paragraph = text.partition("Extras:")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z][a-z-]*)`", paragraph)) == set(extras)


def test_make_targets_that_pages_name_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test"} <= named
    assert named <= set(targets)


def test_speed_table_is_what_the_results_say() -> None:
    for page, marks, name in ((PAGE, (BEGIN, END), "slowr50_sa"), (README, README_MARKS, "openvino bf16")):
        text = page.read_text()
        assert spliced(text) == text
        assert name in text.partition(marks[0])[2].partition(marks[1])[0]


def test_support_table_names_every_model_and_engine() -> None:
    table = PAGE.read_text().partition(BEGIN)[0]
    for name in (*list_models(), *BEST_FORM):
        assert f"`{name}`" in table, name


def test_accuracies_on_the_first_page_are_those_of_the_committed_study() -> None:
    study = (ROOT / "bench" / "results" / "amd-epyc-avx512-bf16" / "real_people.md").read_text()
    study = study.partition("### real")[2].partition("### more")[0]
    measured = {
        key: [float(cell) for cell in re.findall(r"[\d.]+", re.findall(rf"\| \**{key}\** \|(.*)", study)[0])]
        for key in ("mean UAR", "mean log loss")
    }
    rows = re.findall(r"\| \**([\d.]+) %\** \| \**([\d.]+)\** \|", README.read_text())
    shown = [(float(recall), float(loss)) for recall, loss in rows]
    ours, second, third, _, _, peer, other = zip(*measured.values(), strict=True)
    for (recall, loss), (true_recall, true_loss) in zip(shown, (ours, second, third, peer, other), strict=True):
        assert recall == true_recall
        assert loss == pytest.approx(true_loss, abs=0.0051)
