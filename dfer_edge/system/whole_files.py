"""Outputs that are written whole or not at all: a full disk or an interrupted run leaves what was there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dfer_edge.errors import DferError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` with its suffix, to write to inside the ``with``; renamed to ``path`` at its end.

    Raises
    ------
    DferError
        If the file cannot be written; what was at ``path`` is still there.
    """
    path = Path(path)
    partial = partial_of(path)
    try:
        _sweep(path)
        # What is no file, such as /dev/stdout, cannot be replaced.
        special = path.exists() and not path.is_file()
        yield path if special else partial
        if not special:
            partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DferError(f"cannot write {path}: {reason}", "is the folder there, is the disk full?") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all; raises as :func:`replacing`."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def partial_of(path: Path) -> Path:
    """What a file is called, beside its place, while this process writes it; no longer than names may be."""
    return path.with_name(f".{_short(path)}.{os.getpid()}.partial{path.suffix}")


def _short(path: Path) -> str:
    # Names are limited in bytes, of which a letter may have four.
    return os.fsdecode(os.fsencode(path.stem)[:200])


def _sweep(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    start, end = f".{_short(path)}.", f".partial{path.suffix}"
    for other in path.parent.iterdir():
        owner = other.name[len(start) : -len(end)]
        if other.name.startswith(start) and other.name.endswith(end) and owner.isdecimal() and not _lives(int(owner)):
            other.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
