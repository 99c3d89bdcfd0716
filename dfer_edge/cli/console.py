"""Progress and tables; progress goes to stderr and only to a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from dfer_edge.engines.tensorrt.build_progress import BuildState

# Without markup: brackets in names are brackets.
STDOUT = Console(highlight=False, markup=False, emoji=False)
STDERR = Console(stderr=True, markup=False, emoji=False)


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar; yields a function of (done, total or None)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=STDERR, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(total, done) if total else None)


class BuildBar:
    """A reporter of engine builds: a bar with the time left, on stderr and only on a terminal."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __call__(self, state: BuildState) -> None:
        """Show a moment of a build; the bar goes when it is done."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            columns = (TextColumn("build {task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Progress(*columns, console=STDERR, transient=True)
            self._bar.add_task(state.what, total=1.0, left="")
            self._bar.start()
        left = "" if state.left_s is None else f"about {state.left_s:.0f} s left"
        self._bar.update(self._bar.task_ids[0], completed=state.fraction, left=left)
        if state.fraction >= 1:
            self.stop()

    def stop(self) -> None:
        """Take the bar away, e.g. after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextlib.contextmanager
def build_bar() -> Iterator[None]:
    """Engine builds within the ``with`` show a bar."""
    from dfer_edge.engines.tensorrt.build_progress import reporting_to

    bar = BuildBar()
    try:
        with reporting_to(bar):
            yield
    finally:
        bar.stop()


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2))
