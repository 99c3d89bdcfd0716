"""The cache of exported networks: keyed, published whole, shared by processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfer_edge import DferError, artifacts, export, weights


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))


def test_exported_once_and_keyed_by_form_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    first = artifacts.prepare(weights.random("slowr50"), "2d")
    monkeypatch.setattr(export, "write", lambda *a, **k: pytest.fail("exported again"))
    assert artifacts.prepare(weights.random("slowr50"), "2d") == first
    monkeypatch.undo()
    names = [("slowr50", "2d", 0), ("slowr50", "3d", 0), ("slowr50", "2d", 1), ("slowr50_sa", "2d", 0)]
    keys = {artifacts._key(weights.random(name, seed), form) for name, form, seed in names}
    assert len(keys) == 4


def test_a_failed_export_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(source: object, path: Path, form: str, **options: object) -> None:
        path.write_bytes(b"half a network")
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write", half)
    with pytest.raises(KeyboardInterrupt):
        artifacts.prepare(weights.random("slowr50"), "2d")
    assert not list((tmp_path / "cache").rglob("*.onnx"))


def test_two_processes_export_once(tmp_path: Path) -> None:
    code = (
        "from dfer_edge import artifacts, export, weights\n"
        "write, calls = export.write, []\n"
        "export.write = lambda *a, **k: (calls.append(1), write(*a, **k))\n"
        "artifacts.prepare(weights.random('slowr50'), '2d'); print(len(calls))"
    )
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(2)]
    assert sorted(process.communicate(timeout=120)[0].strip() for process in running) == ["0", "1"]


def test_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DferError, match="DFER_EDGE_CACHE"):
        artifacts.prepare(weights.random("slowr50"), "2d")
