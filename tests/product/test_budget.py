"""The size budget (design rule 9) and the manners of the tree."""

from __future__ import annotations

import ast
import statistics
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("dfer_edge", "kernels", "calibration")


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if not path.is_symlink()]


def functions() -> dict[str, int]:
    """Lines of every function, without its docstring."""
    lengths: dict[str, int] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                documented = ast.get_docstring(node, clean=False)
                docstring = len(documented.splitlines()) if documented else 0
                lengths[f"{path.relative_to(ROOT)}:{node.name}"] = node.end_lineno - node.lineno + 1 - docstring
    return lengths


def test_files() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in sources()}
    assert len(lines) > 40
    assert statistics.median(lines.values()) <= 130
    assert not {path for path, count in lines.items() if count > 450}


def test_functions() -> None:
    lengths = functions()
    assert statistics.median(lengths.values()) <= 12
    assert not {name for name, count in lengths.items() if count > 60}


def test_tests_and_benches_are_files_of_a_size_too() -> None:
    paths = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    assert not {path for path in paths if len(path.read_text().splitlines()) > 450}


def test_native_files() -> None:
    paths = [path for kind in ("cpp", "h", "cu", "cuh") for path in (ROOT / "csrc").rglob(f"*.{kind}")]
    assert paths
    assert not {path for path in paths if len(path.read_text().splitlines()) > 400}


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_large_files() -> None:
    """But for shipped weights, which have a bound of their own."""
    weights = ROOT / "dfer_edge" / "assets" / "weights"
    bounds = {path: 40_000_000 if path.parent == weights else 2 << 20 for path in tracked()}
    bounds[weights.parent / "face_check.onnx"] = 3_000_000
    assert not {path.name for path, bound in bounds.items() if path.stat().st_size > bound}


def test_no_paths_of_one_machine() -> None:
    """Nothing names a folder that exists on one person's machine only."""
    marks = [b"/ro" + b"ot/", b"/ho" + b"me/", b"/wo" + b"rk/"]
    for path in tracked():
        content = path.read_bytes()
        assert not [mark for mark in marks if mark in content], path
