"""What the C library does with memory that is freed."""

from __future__ import annotations

import functools

import numpy as np

# The largest block that glibc's own adjustment follows is 32 MB, with its header in whole pages.
_LARGEST = (32 << 20) - (8 << 10)


@functools.cache
def keep_freed_frames() -> None:
    """Let glibc keep the memory of freed frames, by freeing one block of the largest size that it adjusts itself to.

    By default it gives the memory of a frame back to the kernel and takes it again, cleared page by page, for the next
    one: a third of the time of decoding 640x360. Once a mapped block was freed, blocks up to its size come from the
    heap, and twice as much is kept there. So nothing is set for the process around us, whose own settings of malloc go
    before; another C library frees a block that was never touched.
    """
    np.empty(_LARGEST, np.uint8)
