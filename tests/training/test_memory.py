"""glibc keeps freed memory: a large block that is freed and asked for again is the same memory, still there."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import ctypes, resource
from dfer_edge.training.memory import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = [faults_of_a_step() for _ in range(3)]
kept = keep_freed_memory()
faults_of_a_step()
print(kept, min(plain), max(faults_of_a_step() for _ in range(3)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_second_step_touches_no_new_page() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    kept, plain, faults = done.stdout.split()
    assert kept == "True"
    # 64 MiB are 32 huge pages or 16384 small ones.
    assert int(faults) < 8 < int(plain)
