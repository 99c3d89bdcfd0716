"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
import functools
import os

# Of glibc's malloc.h; some tens of decoded frames. The second is where its own adjustment, which the first ends, stops.
_TOP_PAD, _MMAP_THRESHOLD, _BYTES = -2, -3, 32 << 20


@functools.cache
def keep_freed_frames() -> bool:
    """Tell glibc to keep up to 32 MB that are freed; whether it listened. For the whole process, once.

    By default it gives the memory of a frame back to the kernel and takes it again, cleared page by page, for the next
    one: a third of the time of decoding 640x360. Who sets ``MALLOC_TOP_PAD_`` in the environment decides.
    """
    if "MALLOC_TOP_PAD_" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(switch, _BYTES) == 1 for switch in (_TOP_PAD, _MMAP_THRESHOLD))
    except (AttributeError, OSError, TypeError):
        return False  # another C library
