"""Renders in child processes, each of which reads a job from stdin and writes clips to stdout.

Plain children instead of ``multiprocessing``: no fork beside the caller's threads, and no demand on the caller's
``__main__``. A clip travels as one JSON line and the bytes of its arrays; nothing is pickled. A thread for each child
takes its clips out of the pipe, which holds less than one, so that no child waits while another's are asked for.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dfer_edge.errors import DferError
from dfer_edge.synthesis.clip import SyntheticClip

if TYPE_CHECKING:
    from dfer_edge.synthesis.dataset import SyntheticClips

# Clips of one worker that wait for the caller: one person's, so that the other workers draw on meanwhile, in bounds.
_FEWEST_AHEAD, _MOST_AHEAD = 4, 32


def blocks(start: int, stop: int, width: int, part: int, parts: int) -> Iterator[int]:
    """Indices of one worker: every ``parts``-th block, so that the clips of a person stay together."""
    first = start - start % width
    for begin in range(first + part * width, stop, parts * width):
        yield from range(max(begin, start), min(begin + width, stop))


def write(out: IO[bytes], clip: SyntheticClip) -> None:
    """A clip into the pipe, as :func:`_read` takes it out."""
    values = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)}
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    head = {
        "plain": {name: value for name, value in values.items() if name not in arrays},
        "arrays": {name: (array.dtype.str, array.shape) for name, array in arrays.items()},
    }
    out.write(json.dumps(head).encode() + b"\n")
    for array in arrays.values():
        out.write(array.data)
    out.flush()


def _read(source: IO[bytes]) -> SyntheticClip | None:
    """The next clip; None at the end, and where a child died in the middle of one."""
    line = source.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    fields: dict[str, Any] = head["plain"]
    for name, (dtype, shape) in head["arrays"].items():
        array = np.empty(shape, dtype)
        if source.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            return None
        fields[name] = array
    fields["seed"] = tuple(fields["seed"])
    return SyntheticClip(**fields)


def _start(job: dict[str, object]) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(path or os.curdir for path in sys.path)
    child = subprocess.Popen(
        [sys.executable, "-c", "from dfer_edge.synthesis.worker import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert child.stdin is not None  # noqa: S101 - a pipe was asked for
    child.stdin.write(json.dumps(job).encode())
    child.stdin.close()
    return child


class _Worker:
    """A child process, and the thread that reads up to ``ahead`` of its clips before they are asked for."""

    def __init__(self, job: dict[str, object], ahead: int) -> None:
        self.child = _start(job)
        self._thread = ThreadPoolExecutor(1)
        self._coming = deque(self._thread.submit(_read, self._pipe) for _ in range(ahead))

    @property
    def _pipe(self) -> IO[bytes]:
        assert self.child.stdout is not None  # noqa: S101 - a pipe was asked for
        return self.child.stdout

    def take(self) -> SyntheticClip:
        """The next clip."""
        clip = self._coming.popleft().result()
        if clip is None:
            raise DferError(
                f"a rendering process ended early with exit code {self.child.wait()}", "its last words are above"
            )
        self._coming.append(self._thread.submit(_read, self._pipe))
        return clip

    def close(self) -> None:
        """Wait for thread and child, which has been killed: what was being read ends there."""
        self._thread.shutdown(cancel_futures=True)
        self.child.wait()
        self._pipe.close()


def render(clips: SyntheticClips, start: int, stop: int) -> Iterator[SyntheticClip]:
    """Clips ``start`` to ``stop - 1`` of a set in order, from its number of child processes.

    Raises
    ------
    DferError
        A child ended before its work was done.
    """
    parts = min(clips.workers, stop - start)
    width = clips.settings.clips_per_person
    owner = {index: part for part in range(parts) for index in blocks(start, stop, width, part, parts)}
    job = clips.job() | {"start": start, "stop": stop, "parts": parts, "width": width}
    ahead = min(max(width, _FEWEST_AHEAD), _MOST_AHEAD)
    workers = [_Worker(job | {"part": part}, ahead) for part in range(parts)]
    try:
        for index in range(start, stop):
            yield workers[owner[index]].take()
    finally:
        for worker in workers:
            worker.child.kill()
        for worker in workers:
            worker.close()
