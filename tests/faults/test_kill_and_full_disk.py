"""A few kills and full disks with every run of the tests, a thousand and all of them with the slow ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import kill
from tests.faults.writers import Writer

ROOT = Path(__file__).parents[2]
SMALL = ("cache", "weights", "ranges", "outputs")


def run(*command: str, limit_s: float = 250) -> str:
    # A process of its own, without threads, so that it can fork.
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, timeout=limit_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_few_kills() -> None:
    assert "every store was whole" in run("tests.faults.kill", "--count", "16", "--only", *SMALL)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_kills() -> None:
    assert "every store was whole" in run("tests.faults.kill", "--count", "1000", limit_s=7000)


def test_a_disk_that_is_full_at_every_write() -> None:
    said = run("tests.faults.full_disk", "--only", *SMALL)
    if "no C compiler" in said:
        pytest.skip(said)
    assert "each ended in a DferError" in said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_writer_on_a_full_disk() -> None:
    assert "wrong" not in run("tests.faults.full_disk", limit_s=1700)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_is_half_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness can fail."""

    def write(folder: Path, version: int) -> None:
        with (folder / "f").open("wb", buffering=0) as file:
            for _ in range(2000):
                file.write(bytes([version] * 8))

    def read(folder: Path) -> int:
        content = (folder / "f").read_bytes()
        assert len(content) == 16_000
        return content[0]

    monkeypatch.setattr(kill, "writers", lambda _: {"plain": Writer(write, read)})
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    _, wrong = kill.run(20, 0)
    assert len(wrong) > 5
