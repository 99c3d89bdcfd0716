"""How far a build of minutes is, and how long it will still take."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator

_LOG = logging.getLogger("dfer_edge")
_LOG_EVERY_S = 10.0


@dataclasses.dataclass(frozen=True)
class BuildState:
    """A moment of a build.

    Attributes
    ----------
    what
        What is built, e.g. ``slowr50_sa fp16``.
    phase
        The innermost phase under way, as TensorRT calls it.
    fraction
        Done, 0 to 1; never falls.
    left_s
        Estimate of the seconds that are left; None at the start.
    """

    what: str
    phase: str
    fraction: float
    left_s: float | None


Reporter = Callable[[BuildState], None]


def log(state: BuildState) -> None:
    """The reporter that runs when nobody set one: lines in the log."""
    left = "" if state.left_s is None else f", about {state.left_s:.0f} s left"
    _LOG.info("building %s: %.0f %%%s (%s)", state.what, 100 * state.fraction, left, state.phase)


_REPORTER: contextvars.ContextVar[Reporter | None] = contextvars.ContextVar("reporter", default=None)


@contextlib.contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Builds within the ``with`` tell ``reporter`` each step; it may be called from threads of the builder."""
    token = _REPORTER.set(reporter)
    try:
        yield
    finally:
        _REPORTER.reset(token)


@dataclasses.dataclass
class _Phase:
    name: str
    parent: str | None
    steps: int
    done: int = 0


class Tracker:
    """Follows nested phases, from any thread. Made on the thread that builds.

    Attributes
    ----------
    cancelled
        Whether the user interrupted; the builder asks after each step.
    """

    def __init__(self, what: str) -> None:
        self._what, self._phases, self._lock = what, list[_Phase](), threading.Lock()
        self._start = time.monotonic()
        self._fraction, self._logged = 0.0, self._start
        self._reporter = _REPORTER.get()
        self.cancelled = False

    def phase_started(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases.append(_Phase(name, parent, max(steps, 1)))
        self._report()

    def step_done(self, name: str, step: int) -> None:
        with self._lock:
            for phase in self._phases:
                if phase.name == name:
                    phase.done = min(step + 1, phase.steps)
        self._report()

    def phase_finished(self, name: str) -> None:
        with self._lock:
            top = [phase for phase in self._phases if phase.name == name and phase.parent is None]
            self._phases = [phase for phase in self._phases if phase.name != name]
            self._fraction = 1.0 if top else self._fraction
        self._report()

    def state(self) -> BuildState:
        """Now."""
        with self._lock:
            roots = [phase for phase in self._phases if phase.parent is None]
            now = self._of(roots[0]) if roots else self._fraction
            self._fraction = max(self._fraction, now)
            phase = self._phases[-1].name if self._phases else ""
            elapsed = time.monotonic() - self._start
            left = elapsed * (1 / self._fraction - 1) if self._fraction > 0 else None
            return BuildState(self._what, phase, self._fraction, left)

    def _of(self, phase: _Phase) -> float:
        """A phase's steps, with what is done of the one under way as its children tell."""
        children = [self._of(child) for child in self._phases if child.parent == phase.name and child is not phase]
        inside = sum(children) / len(children) if children else 0.0
        return min(1.0, (phase.done + inside) / phase.steps)

    def _report(self) -> None:
        state = self.state()
        if self._reporter is not None:
            try:
                self._reporter(state)
            except KeyboardInterrupt:
                # No exception can pass through the library that called: it stops when it asks next.
                self.cancelled = True
            except Exception as error:  # a bar that fails is no reason to lose a build of minutes
                _LOG.warning("progress is not shown any more: %s", error)
                self._reporter = None
        elif time.monotonic() - self._logged >= _LOG_EVERY_S:
            self._logged = time.monotonic()
            log(state)
