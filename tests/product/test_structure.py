"""The house: few modules at the top, every room with its rule, no import from a room above, no circle."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from dfer_edge._names import MOVED
from tests.conftest import ROOT

PACKAGE = ROOT / "dfer_edge"

# From the ground up, a floor a line. A room imports from floors below its own, and nothing on its own.
FLOORS = [
    "_names _version errors labels",
    "_values metrics spec system",
    "cache types",
    "kernels sources",
    "faces inference",
    "flow synthesis",
    "models signals",
    "engines weights",
    "calibration confidence training",
    "export",
    "doctor live",
    "recognizer sinks",
    "evaluation label serve",
    "bench reproduce",
    "cli",
    "__main__",
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor.split()}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):  # follows no links: the two rooms beside the package come next
        if path.relative_to(PACKAGE).parts[0] not in ("kernels", "calibration"):
            found[path] = ("dfer_edge", *path.relative_to(PACKAGE).with_suffix("").parts)
    for room in ("kernels", "calibration"):
        for path in (ROOT / room).rglob("*.py"):
            found[path] = ("dfer_edge", room, *path.relative_to(ROOT / room).with_suffix("").parts)
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in found.items()}


MODULES = modules()


@functools.cache
def imported(path: Path) -> frozenset[str]:
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports anywhere, but for the type checker alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in for_types:
            yield from (name.name for name in node.names if name.name.split(".")[0] == "dfer_edge")
        if (
            isinstance(node, ast.ImportFrom)
            and id(node) not in for_types
            and (node.module or "").startswith("dfer_edge")
        ):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else str(node.module)


def test_top_level_is_short() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_rooms_import_from_floors_below() -> None:
    rooms = {name.split(".")[1] for name in MODULES if "." in name}
    assert rooms == set(FLOOR)
    up = []
    for name, path in MODULES.items():
        room = name.split(".")[1] if "." in name else "_names"
        others = {target.split(".")[1] for target in imported(path) if "." in target} - {room}
        if name != "dfer_edge":
            up += [f"{name} -> {other}" for other in others if FLOOR[other] >= FLOOR[room]]
    assert not up


def test_no_circles() -> None:
    """Not even through imports on use."""
    graph = {name: {target for target in imported(path) if target != name} for name, path in MODULES.items()}
    inits = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    # A package imports its modules, and a module's names from its own package are no more than a shorter name.
    graph = {name: {other for other in targets if other not in inits} for name, targets in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_room_says_who_lives_there() -> None:
    for path in MODULES.values():
        if path.name == "__init__.py":
            first = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[:1]
            assert first, path
            assert first[0].endswith((".", ":", "``")), path


def test_tests_have_the_same_rooms() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    # The doctor's tests stand with the engines, whose doubles it judges.
    assert rooms - {"doctor"} <= {path.name for path in (ROOT / "tests").iterdir()}


@pytest.mark.parametrize("old", MOVED)
def test_old_names_still_work(old: str) -> None:
    new = MOVED[old]
    if new.startswith("dfer_edge.engines.tensorrt.") or new in (
        "dfer_edge.evaluation.explain",
        "dfer_edge.weights.convert",
    ):
        pytest.importorskip("torch")
    module = importlib.import_module(new)
    sys.modules.pop(old, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert importlib.import_module(old) is module
    assert module.__spec__ is not None
    assert module.__spec__.name == new
    assert module.__name__ == new


def test_old_names_warn_once_where_they_are_used() -> None:
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "try:\n    from dfer_edge.clips import uniform_indices\n"
        "except DeprecationWarning as warning: print(warning)\n"
        "warnings.simplefilter('ignore')\n"
        "import dfer_edge\n"
        "from dfer_edge.streaming import StreamingState\n"
        "assert dfer_edge.streaming.StreamingState is StreamingState\n"
        "assert dfer_edge.flow.streaming.StreamingState is StreamingState\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "dfer_edge.clips is dfer_edge.flow.clips now" in out
