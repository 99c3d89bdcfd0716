"""Locks of native objects that serve one call at a time, consistent across a fork.

A fork copies the forking thread alone. What another thread held at that moment, a lock of ours or one inside an engine,
would be held in the child for ever: so a fork waits until no call is inside a native object, and keeps new ones out.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from types import TracebackType

_LOCKS: weakref.WeakSet[CallLock] = weakref.WeakSet()
_REGISTRY = threading.Lock()
_numbers = itertools.count()
# Held from before a fork to after it; forks of two threads must not both do this.
_held: list[CallLock] = []


class CallLock:
    """A lock around calls of one native object; a context manager. A thread that holds one must not fork.

    Who takes several takes them in the order of ``number``, as a fork does.
    """

    def __init__(self) -> None:
        self._lock, self.number = threading.Lock(), next(_numbers)
        with _REGISTRY:
            _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


def _before_fork() -> None:
    _REGISTRY.acquire()
    _held.extend(sorted(_LOCKS, key=lambda lock: lock.number))
    for lock in _held:
        lock.__enter__()


def _after_fork() -> None:
    for lock in _held:
        lock.__exit__(None, None, None)
    _held.clear()
    _REGISTRY.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
