"""Steady probabilities: two filters that look at the past alone, and a label that does not flicker."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]

# A state of the hidden Markov model is left once in so many time constants.
_DWELL = 10.0
# What a single window can say against a class, so that one sure mistake does not undo a second of evidence.
_FLOOR = 0.02


class Filter(Protocol):
    """Probabilities [K] over time to probabilities [K]."""

    def update(self, probabilities: Probabilities, time_s: float) -> Probabilities:
        """The next ones; times ascend."""
        ...


class NoFilter:
    """Probabilities as they are."""

    def update(self, probabilities: Probabilities, time_s: float) -> Probabilities:
        """See :class:`Filter`."""
        return probabilities


class ExponentialFilter:
    """An exponential moving average, right for any spacing: a step is followed to 63 % after ``delay_s``."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._value: Probabilities | None = None
        self._last_s = 0.0

    def update(self, probabilities: Probabilities, time_s: float) -> Probabilities:
        """See :class:`Filter`."""
        if self._value is None or self._delay_s == 0:
            self._value = probabilities
        else:
            share = 1 - math.exp(-(time_s - self._last_s) / self._delay_s)
            self._value = self._value + share * (probabilities - self._value)
        self._last_s = time_s
        return self._value


class HmmFilter:
    """The forward filter of a hidden Markov model whose states are the classes.

    A state holds for :data:`_DWELL` times ``delay_s`` on average. What a window says is its evidence, counted by the
    time since the last one against ``delay_s``: windows that overlap say the same thing again, not something new.
    Two windows a ``delay_s`` apart count in full. Rabiner, "A tutorial on hidden Markov models", 1989, equation 20.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._belief: Probabilities | None = None
        self._last_s = 0.0

    def update(self, probabilities: Probabilities, time_s: float) -> Probabilities:
        """See :class:`Filter`."""
        evidence = np.maximum(probabilities, _FLOOR)
        if self._belief is None or self._delay_s == 0:
            self._belief = probabilities
        else:
            elapsed = (time_s - self._last_s) / self._delay_s
            stay = math.exp(-elapsed / _DWELL)
            count = len(probabilities)
            moved = stay * self._belief + (1 - stay) * (1 - self._belief) / max(1, count - 1)
            updated = moved * evidence ** min(elapsed, 1.0)
            self._belief = updated / updated.sum()
        self._last_s = time_s
        return self._belief


class SteadyLabel:
    """A label that changes only for one that leads by ``margin``, or leads at all for ``hold_s``."""

    def __init__(self, margin: float, hold_s: float) -> None:
        self._margin, self._hold_s = margin, hold_s
        self._current: int | None = None
        self._rival: int | None = None
        self._since_s = 0.0

    def update(self, probabilities: Probabilities, time_s: float) -> int:
        """The class to say now."""
        best = int(probabilities.argmax())
        if self._current is None:
            self._current = best
        if best == self._current:
            self._rival = None
        else:
            if best != self._rival:
                self._rival, self._since_s = best, time_s
            leads = probabilities[best] - probabilities[self._current] >= self._margin
            if leads or time_s - self._since_s >= self._hold_s:
                self._current, self._rival = best, None
        return self._current


def make_filter(name: str, delay_s: float) -> Filter:
    """The filter called ``hmm``, ``exponential`` or ``off``."""
    if name == "off":
        return NoFilter()
    return HmmFilter(delay_s) if name == "hmm" else ExponentialFilter(delay_s)
