"""Streaming histograms of absolute values, and the thresholds that the methods read from them.

The upper edge is a power of two and doubles by merging neighbours, so bins do not depend on the order of the data, and
memory is :data:`BINS` counts a tensor whatever is added.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[Any]

BINS = 4096
# Steps of int8 on one side of zero.
LEVELS = 127
_CHUNK = 1 << 20


@dataclasses.dataclass
class Histogram:
    """Counts of absolute values in :data:`BINS` equal bins of [0, edge).

    Attributes
    ----------
    low, high
        Smallest and largest value seen.
    edge
        A power of two above all that was seen; 0 before anything but zeros came.
    zeros
        Exact zeros, which every scale keeps: they are not in ``counts``.
    """

    low: float = math.inf
    high: float = -math.inf
    edge: float = 0.0
    zeros: int = 0
    counts: Counts = dataclasses.field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def largest(self) -> float:
        """Largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def add(self, values: Values) -> bool:
        """Count an array; False, and nothing is counted, if it holds NaN or infinity."""
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(abs(low), abs(high)))
        flat = values.reshape(-1)
        # In pieces: the bin numbers of a whole activation would be as large as the activation.
        for start in range(0, flat.size, _CHUNK):
            self._count(np.abs(flat[start : start + _CHUNK]))
        return True

    def _count(self, sizes: Values) -> None:
        zeros = int(sizes.size - np.count_nonzero(sizes))
        self.zeros += zeros
        if zeros < sizes.size:
            bins = np.minimum(sizes * (BINS / self.edge), BINS - 1).astype(np.int32)
            self.counts += np.bincount(bins, minlength=BINS)
            self.counts[0] -= zeros

    def _grow(self, largest: float) -> None:
        if largest == 0.0 or largest < self.edge:
            return
        # frexp: largest = m 2^e with m < 1, so it lies below 2^e.
        edge = math.ldexp(1.0, math.frexp(largest)[1])
        while self.edge and self.edge < edge:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.edge *= 2
        self.edge = edge


def minmax(histogram: Histogram) -> float:
    """The largest absolute value: nothing is clipped."""
    return histogram.largest


def percentile(histogram: Histogram, share: float = 0.9999) -> float:
    """The smallest bin edge below which ``share`` of the non-zero values lie."""
    total = np.cumsum(histogram.counts)
    if total[-1] == 0:
        return histogram.largest
    reached = int(np.searchsorted(total, share * total[-1]))
    return min((reached + 1) * histogram.edge / BINS, histogram.largest)


def mse(histogram: Histogram, candidates: int = 200) -> float:
    """The threshold with the least mean squared error of rounding and clipping."""
    counts, centres = histogram.counts, _centres(histogram)
    thresholds = histogram.largest * np.linspace(0.2, 1.0, candidates)
    errors = []
    for threshold in thresholds:
        scale = threshold / LEVELS
        rounded = np.minimum(np.round(centres / scale), LEVELS) * scale if scale else centres
        errors.append(float(counts @ (centres - rounded) ** 2))
    return float(thresholds[int(np.argmin(errors))])


def entropy(histogram: Histogram, least_bins: int = LEVELS + 1, step: int = 16) -> float:
    """The threshold that loses least information.

    The smallest Kullback-Leibler divergence between the clipped distribution and the same in :data:`LEVELS` + 1 steps.

    Source: S. Migacz, 8-bit inference with TensorRT, GTC 2017. Zeros stay out: they are exact at any scale and would
    drown the rest after a ReLU.
    """
    counts = histogram.counts.astype(np.float64)
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if used <= least_bins:
        return histogram.largest
    stops: list[int] = [*range(least_bins, used, step), used]
    losses = [_divergence(counts, stop) for stop in stops]
    stop = stops[int(np.argmin(losses))]
    return min(stop * histogram.edge / BINS, histogram.largest)


def _divergence(counts: npt.NDArray[np.float64], stop: int) -> float:
    clipped = counts[:stop].copy()
    clipped[-1] += counts[stop:].sum()
    # Each step's values are spread evenly over those of its bins that hold any.
    step = np.arange(stop) * (LEVELS + 1) // stop
    filled = counts[:stop] > 0
    sums, sizes = np.bincount(step, counts[:stop]), np.bincount(step, filled)
    spread = np.where(filled, (sums / np.maximum(sizes, 1))[step], 0.0)
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1e-30)
    there = p > 0
    return float((p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))).sum())


def _centres(histogram: Histogram) -> npt.NDArray[np.float64]:
    return np.asarray((np.arange(BINS) + 0.5) * (histogram.edge / BINS), np.float64)


METHODS = {"minmax": minmax, "percentile": percentile, "entropy": entropy, "mse": mse}
