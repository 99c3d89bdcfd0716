"""Where numbers come from: without it a number is not published."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from dfer_edge._version import __version__
from dfer_edge.system import cpu

_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch", "tensorrt")


def versions() -> dict[str, Any]:
    """Versions, processor, date and commit, JSON-safe."""
    return {
        "dfer_edge": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: found for name in _PACKAGES if (found := version(name))},
        "processor": cpu.name(),
        "cores": cpu.available_cores(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit(),
    }


def commit() -> str:
    """Of the checkout that the package lies in, ``+changes`` if files differ from it; empty for an installed one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        head, status = (_git(root, *words) for words in (("rev-parse", "--short", "HEAD"), ("status", "-s", "-uno")))
    except (OSError, subprocess.CalledProcessError):
        return ""
    # What a bench writes does not make the code another.
    changed = [line for line in status.splitlines() if "bench/results/" not in line]
    return head.strip() + ("+changes" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


def version(package: str) -> str:
    """Of an installed package; empty if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
