"""A person's own neutral, learnt from the stream. Experimental: off until measured to help."""

from __future__ import annotations

import math

import numpy as np

from dfer_edge.live.smoothing import Probabilities

# Most of the time faces are calm: what a person looks like over this long is taken as calm.
_MEMORY_S = 30.0
_LEAST_S = 5.0
_TINY = 1e-6


class PersonalNeutral:
    """Takes from every class what the person's usual face already shows of it, beyond neutral.

    Parameters
    ----------
    neutral
        Position of the class neutral.
    """

    def __init__(self, neutral: int) -> None:
        self._neutral = neutral
        self._mean: Probabilities | None = None
        self._first_s = self._last_s = 0.0

    def update(self, probabilities: Probabilities, time_s: float) -> Probabilities:
        """Probabilities [K] against the baseline of the seconds before; unchanged in the first five."""
        logarithms = np.log(np.maximum(probabilities, _TINY))
        if self._mean is None:
            self._mean, self._first_s = logarithms, time_s
        else:
            # A true mean at first, then an exponential one.
            memory = min(_MEMORY_S, max(time_s - self._first_s, _TINY))
            share = 1 - math.exp(-(time_s - self._last_s) / memory)
            self._mean = self._mean + share * (logarithms - self._mean)
        self._last_s = time_s
        if time_s - self._first_s < _LEAST_S:
            return probabilities
        excess = np.maximum(self._mean - self._mean[self._neutral], 0.0)
        exponentials = np.exp(logarithms - excess - (logarithms - excess).max())
        return np.asarray(exponentials / exponentials.sum(), np.float64)
