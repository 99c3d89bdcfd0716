"""One file an operation: what it is compared with, and the ratios that it promises.

A case file has

``TITLE``
    Shapes, in words.
``MOVED_BYTES``
    Read and written at least: the floor is the time of a plain copy that moves as many.
``BARS``
    Name of a rival -> :class:`Bar` on (rival's time / ours).
``check()``
    Raises AssertionError if ours is wrong; called before anything is timed.
``cases()``
    Name -> call; ``ours`` and the rivals, on the same data; a text instead of a call says why a rival is missing.

For :mod:`dfer_edge.bench.cases.cuda_kernels` the same on a CUDA device: ``gpu_cases()``, ``gpu_check()``,
``GPU_TITLE``, ``GPU_MOVED_BYTES`` and ``GPU_SHARE_OF_FLOOR``, the promised share of the measured copy
bandwidth; 0 promises nothing. ``GPU_BARS``, if there, are bars on rivals there; ``GPU_INSTRUCTIONS``, if there, what
:mod:`dfer_edge.bench.cases.kernel_estimates` reckons with.
"""

from __future__ import annotations

import dataclasses
from typing import SupportsFloat


@dataclasses.dataclass(frozen=True)
class Bar:
    """Bounds on the rival's time divided by ours."""

    at_least: float

    def met(self, ratio: float) -> bool:
        """Whether the ratio keeps the promise."""
        return ratio >= self.at_least


def within(error: SupportsFloat, bound: float, what: str = "ours") -> None:
    """Raises AssertionError, under ``python -O`` too, unless ``error`` is at most ``bound``."""
    if not float(error) <= bound:
        raise AssertionError(f"{what} is off by {float(error):.3g}, allowed is {bound:g}")
