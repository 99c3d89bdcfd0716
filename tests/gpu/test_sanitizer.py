"""The CUDA kernels under compute-sanitizer: no access out of bounds, race, stray barrier or unwritten memory.

The tool comes with CUDA, or with ``pip install nvidia-cuda-sanitizer-api``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dfer_edge import kernels
from tests.conftest import ROOT


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck", "initcheck"])
def test_clean(device: str, tool: str) -> None:
    sanitizer = found()
    if not sanitizer:
        pytest.skip("no compute-sanitizer on the PATH, in /usr/local/cuda/bin or from pip")
    if reason := kernels.backends("lbp")["cuda"]:
        pytest.skip(f"cuda: {reason}")
    # Only our kernels, and no errors of calls that torch makes to find out what there is.
    ours = ["--kernel-regex", "kns=dfer", "--report-api-errors", "no"] if tool in ("racecheck", "initcheck") else []
    call = [sanitizer, "--tool", tool, "--error-exitcode", "9", *ours]
    # Without torch's cache each array is an allocation of its own, whose bounds the tool knows.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    run = subprocess.run(
        [*call, sys.executable, "-m", "tests.gpu.small_calls"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


def found() -> str:
    """The tool's path; empty if there is none."""
    places = ["compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer"]
    places += [str(path) for folder in sys.path for path in Path(folder).glob("nvidia/**/compute-sanitizer")]
    return next((path for place in places if (path := shutil.which(place))), "")
