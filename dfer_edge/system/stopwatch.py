"""Milliseconds by stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Adds up host time by stage name; ``total`` runs from the making of the watch.

    Stages nest: time in an inner stage is not counted to the outer one, so stages never add up to more than the total.
    """

    def __init__(self) -> None:
        self._start = self._mark = time.perf_counter()
        self._stages: dict[str, float] = {}
        self._open: list[str] = []
        self._lap: dict[str, float] = {}

    def _book(self) -> None:
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self._stages[name] = self._stages.get(name, 0.0) + now - self._mark
        self._mark = now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a ``with``."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass ``items`` on, timing what it takes to get each."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def lap(self) -> dict[str, float]:
        """Stages and ``total`` since the last lap, at first since the making; the next lap begins here."""
        before, self._lap = self._lap, self.milliseconds()
        return {name: ms - before.get(name, 0.0) for name, ms in self._lap.items()}

    def milliseconds(self) -> dict[str, float]:
        """Stages and ``total`` since the making."""
        times = self._stages | {"total": time.perf_counter() - self._start}
        return {name: seconds * 1e3 for name, seconds in times.items()}
