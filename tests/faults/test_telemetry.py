"""README says no telemetry and no network access: every system call of a run is looked at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dfer_edge.engines import reasons

_SCRIPT = """
import sys, dfer_edge
video, *engines = sys.argv[1:]
for engine in engines:
    recognizer = dfer_edge.Recognizer("slowr50_sa", engine=engine, precision="fp32", threads=1)
    print(engine, recognizer.predict(video).label)
"""
# Sockets of other families than these speak to nobody outside the machine.
_NETWORK = re.compile(r"AF_INET|AF_INET6|AF_PACKET|sin_port|\bsendto\(|\bsendmsg\(|\bsendmmsg\(")
_WRITES = re.compile(r'(?:open|openat|creat|mkdir|mkdirat|rename|renameat2?)\((?:AT_FDCWD, )?"([^"]+)"(.*)')
_WRITING = re.compile(r"O_CREAT|O_WRONLY|O_RDWR|^, 0[0-7]+\)")


def test_a_run_speaks_to_nobody_and_writes_into_the_cache_alone(tmp_path: Path, astronaut: Path) -> None:
    """On every engine that runs here, one after another in one process."""
    engines = [engine for engine in ("openvino", "onnxruntime", "torch") if not reasons(engine)]
    home, cache, log = tmp_path / "home", tmp_path / "cache", tmp_path / "calls.txt"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "DFER_EDGE_CACHE": str(cache)}
    calls = "socket,connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2"
    watched = (
        [strace, "-f", "-qq", "-s", "300", "-e", f"trace={calls}", "-o", str(log)] if (strace := _strace()) else []
    )
    command = [*watched, sys.executable, "-B", "-c", _SCRIPT, str(astronaut), *engines]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=home)
    assert run.returncode == 0, run.stderr
    assert [line.split()[0] for line in run.stdout.splitlines()] == engines
    assert not run.stderr
    assert list(home.rglob("*")) == [], "a run leaves files in the home folder"
    if not watched:
        pytest.skip("strace is not here: only the home folder was looked at")
    lines = log.read_text(errors="replace").splitlines()
    assert any(str(cache) in line for line in lines), "strace saw nothing"
    assert [line for line in lines if _NETWORK.search(line)] == []
    assert {path for line in lines for path in _written(line)} == set()


def _strace() -> str | None:
    """The path of an strace that may trace here (containers often forbid it)."""
    found = shutil.which("strace")
    able = found and subprocess.run([found, "-qq", "true"], capture_output=True).returncode == 0
    return found if able else None


def _written(line: str) -> list[str]:
    """Paths outside the cache that a system call writes to; calls that failed wrote nothing."""
    found = _WRITES.search(line)
    if not found or re.search(r"= -1 E", line) or not _WRITING.search(found[2]):
        return []
    path = found[1]
    return [] if "/cache/" in path or path.endswith("/cache") or path.startswith("/dev/") else [path]
