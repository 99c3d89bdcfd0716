"""Frames with the moment of their capture, and the bounded queue between the threads of a stream."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from dfer_edge.types import Frame

T = TypeVar("T")
Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Captured:
    """A frame of a live source.

    Attributes
    ----------
    frame
        ``time_s`` is set.
    at_s
        Moment of capture on the monotonic clock.
    """

    frame: Frame
    at_s: float


class WallClock:
    """Unix time that never jumps: the system's clock is read once, the monotonic one from then on."""

    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self.now = monotonic
        self._offset = time.time() - monotonic()

    def unix(self, at_s: float) -> float:
        """Unix time of a moment on the monotonic clock."""
        return at_s + self._offset


class Slot(Generic[T]):
    """A queue of at most ``size`` items between two threads.

    Parameters
    ----------
    size
        Items that may wait.
    drops
        A full slot gives up its oldest item; without it, ``put`` waits.
    changed
        The condition that all slots of a stream share.

    Attributes
    ----------
    dropped
        Items that were given up.
    deepest
        Most items that ever waited.
    """

    def __init__(self, size: int, drops: bool, changed: threading.Condition) -> None:
        self._size, self._drops, self._changed = size, drops, changed
        self._items: deque[T] = deque()
        self._is_closed = False
        self.dropped = self.deepest = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> bool:
        """Append an item; False if the slot was closed meanwhile."""
        with self._changed:
            while not self._drops and len(self._items) >= self._size and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            if len(self._items) >= self._size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self.deepest = max(self.deepest, len(self._items))
            self._changed.notify_all()
            return True

    def take(self) -> T | None:
        """The oldest item, or None; never waits."""
        with self._changed:
            item = self._items.popleft() if self._items else None
            if item is not None:
                self._changed.notify_all()
            return item

    def wake(self) -> None:
        """Whoever waits on the condition looks again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more comes in; what waits is thrown away and writers return."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self._changed.notify_all()
