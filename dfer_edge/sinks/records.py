"""Observations as they come: JSON lines, CSV, text for people, callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Protocol

from dfer_edge.errors import DferError
from dfer_edge.types import Observation

_LOG = logging.getLogger("dfer_edge")
_EDGES = ("left", "top", "right", "bottom")


class ObservationSink(Protocol):
    """Takes observations one by one; ``close`` may be called twice."""

    def write(self, observation: Observation) -> None:
        """Take one."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class _FileSink:
    """A file that is flushed with every line, or standard output, which stays open.

    Raises
    ------
    DferError
        If the file cannot be written, then or at any line: its disk may fill up.
    """

    def __init__(self, target: str | Path | IO[str]) -> None:
        own = self._is_own = isinstance(target, (str, Path))
        try:
            self._file: IO[str] = Path(target).open("w", newline="") if own else target  # type: ignore[arg-type,assignment] # noqa: SIM115
        except OSError as error:
            raise DferError(f"cannot write {target}: {error.strerror or error}", "name another file") from error
        self._target = target

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Lines written within are flushed at its end."""
        try:
            yield
            self._file.flush()
        except BrokenPipeError:  # nobody reads on: no fault of ours
            raise
        except OSError as error:
            name = self._target if self._is_own else getattr(self._target, "name", "the file")
            raise DferError(f"cannot write {name}: {error.strerror or error}", "is the disk full?") from error

    def close(self) -> None:
        """See :class:`ObservationSink`."""
        if self._is_own:
            # What could not be written was said.
            with contextlib.suppress(OSError):
                self._file.close()


class JsonLinesSink(_FileSink):
    """One JSON document a line, as ``Observation.to_dict``, written at once."""

    def write(self, observation: Observation) -> None:
        """See :class:`ObservationSink`."""
        with self._writing():
            self._file.write(json.dumps(observation.to_dict(), separators=(",", ":")) + "\n")


class CsvSink(_FileSink):
    """One row an observation: source, time, who, where, label, confidence, probabilities, raw label, event."""

    def __init__(self, target: str | Path | IO[str]) -> None:
        super().__init__(target)
        self._writer = csv.writer(self._file)
        self._has_header = False

    def write(self, observation: Observation) -> None:
        """See :class:`ObservationSink`."""
        prediction, raw = observation.prediction, observation.raw
        if not self._has_header:
            head = ["source", "time_s", "captured_s", "age_ms", "frame_index", "track_id", *_EDGES, "seen", "event"]
            self._writer.writerow([*head, "label", "confidence", "raw_label", *prediction.labels])
            self._has_header = True
        numbers = [f"{edge:.1f}" for edge in observation.box]
        row: list[Any] = [observation.source, f"{observation.time_s:.3f}", _rounded(observation.captured_s, 3)]
        row += [_rounded(observation.age_ms, 1), observation.frame_index, observation.track_id, *numbers]
        row += [_rounded(observation.seen, 3), observation.event or "", prediction.label]
        row += [f"{prediction.confidence:.6f}", raw.label if raw else ""]
        with self._writing():
            self._writer.writerow(row + [f"{probability:.6f}" for probability in prediction.probabilities])


class TextSink(_FileSink):
    """A line for people: time, source, who, label, confidence, age, event.

    Parameters
    ----------
    target
        A file or stream.
    names, ages
        Whether the lines name their source and tell how old they are: several sources, live ones.
    """

    def __init__(self, target: str | Path | IO[str], names: bool = True, ages: bool = True) -> None:
        super().__init__(target)
        self._names, self._ages = names, ages

    def write(self, observation: Observation) -> None:
        """See :class:`ObservationSink`."""
        prediction = observation.prediction
        who = f"#{observation.track_id}" if observation.has_face else "  "
        name = f"  {observation.source}" if self._names else ""
        sure = f"{prediction.confidence:.2f}" if observation.has_face else "    "
        age = f"  {observation.age_ms or 0:4.0f} ms old" if self._ages else ""
        event = f"  {observation.event}" if observation.event else ""
        line = f"{observation.time_s:8.2f} s{name}  {who} {prediction.label:<8} {sure}{age}{event}"
        with self._writing():
            self._file.write(line.rstrip() + "\n")


class CallbackSink:
    """Calls a function with every observation, or only with those whose label is new for the person.

    Parameters
    ----------
    function
        Takes an observation; its errors stop the stream.
    on_change
        Only what is new: another label, an event, a person who came or went.
    """

    def __init__(self, function: Callable[[Observation], Any], on_change: bool = False) -> None:
        self._function, self._on_change = function, on_change
        self._last: dict[tuple[str, int], str] = {}

    def write(self, observation: Observation) -> None:
        """See :class:`ObservationSink`."""
        key = (observation.source, observation.track_id)
        is_new = self._last.get(key) != observation.prediction.label or observation.event is not None
        if not observation.has_face or (observation.source, -1) in self._last:
            # Somebody came or everybody went: what was said before is no longer known.
            self._last = {other: label for other, label in self._last.items() if other[0] != observation.source}
        self._last[key] = observation.prediction.label
        if is_new or not self._on_change:
            self._function(observation)

    def close(self) -> None:
        """See :class:`ObservationSink`."""


class AsyncCallbackSink:
    """Runs a coroutine function on an event loop of another thread; the newest observations win.

    Parameters
    ----------
    function
        Takes an observation.
    loop
        A loop that runs.
    most
        Calls that may be under way; further observations are dropped and counted.

    Attributes
    ----------
    dropped
        Observations that nobody had time for.
    """

    def __init__(
        self, function: Callable[[Observation], Awaitable[Any]], loop: asyncio.AbstractEventLoop, most: int = 8
    ) -> None:
        self._function, self._loop, self._most = function, loop, most
        self._under_way: set[Future[Any]] = set()
        self.dropped = 0

    def write(self, observation: Observation) -> None:
        """See :class:`ObservationSink`."""
        self._under_way = {future for future in self._under_way if not future.done()}
        if len(self._under_way) >= self._most:
            self.dropped += 1
            return
        future = asyncio.run_coroutine_threadsafe(self._call(observation), self._loop)
        self._under_way.add(future)

    async def _call(self, observation: Observation) -> None:
        try:
            await self._function(observation)
        except Exception:
            _LOG.exception("a callback failed")

    def close(self) -> None:
        """See :class:`ObservationSink`."""
        for future in self._under_way:
            future.cancel()


def _rounded(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
