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
    partial = path.with_name(f".{path.stem[:200]}.{os.getpid()}.partial{path.suffix}")
    try:
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
