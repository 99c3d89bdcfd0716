"""glibc keeps freed frames, and nothing is set for the process around us."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_FRAMES = """
import resource, numpy as np
from dfer_edge.system.memory import keep_freed_frames
def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(megabytes << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults(16)
keep_freed_frames()
faults(16)
print(plain, max(faults(16) for _ in range(3)), min(faults(64) for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_frames_are_kept_and_larger_blocks_are_not() -> None:
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    run = subprocess.run(
        [sys.executable, "-c", _FRAMES], capture_output=True, text=True, check=True, timeout=300, env=environment
    )
    plain, kept, large = map(int, run.stdout.split())
    # 16 MB are 8 huge pages or 4096 small ones.
    assert kept < 4 <= plain
    assert large > 8
