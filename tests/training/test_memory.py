"""glibc keeps freed memory: a large block that is freed and asked for again is the same memory, still there."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import ctypes, resource
from dfer_edge.training.memory import freed_memory_kept
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def held_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
plain = [faults_of_a_step() for _ in range(3)]
before = held_mb()
with freed_memory_kept() as kept:
    faults_of_a_step()
    inside = max(faults_of_a_step() for _ in range(3))
    held = held_mb() - before
after = [faults_of_a_step() for _ in range(3)]
print(kept, min(plain), inside, held, min(after), held_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_second_step_touches_no_new_page_and_the_process_is_as_before() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=300)
    kept, plain, inside, held, after, left = done.stdout.split()
    assert kept == "True"
    # 64 MiB are 32 huge pages or 16384 small ones.
    assert int(inside) < 8 < int(plain)
    assert int(held) > 48
    assert int(after) > 8
    assert int(left) < 8
