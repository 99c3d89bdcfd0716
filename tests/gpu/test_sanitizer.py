"""The CUDA kernels under compute-sanitizer: no access out of bounds, no race in shared memory, no stray barrier."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from dfer_edge import kernels
from tests.conftest import ROOT


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_clean(device: str, tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if not sanitizer:
        pytest.skip("no compute-sanitizer on the PATH or in /usr/local/cuda/bin")
    if reason := kernels.backends("lbp")["cuda"]:
        pytest.skip(f"cuda: {reason}")
    call = [sanitizer, "--tool", tool, "--error-exitcode", "9"]
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
