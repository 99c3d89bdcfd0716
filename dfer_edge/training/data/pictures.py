"""Pictures of anything but people, which trainings show beside faces; any folder of them serves."""

from __future__ import annotations

from pathlib import Path

from dfer_edge.errors import SourceNotFound

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def picture_files(folder: Path) -> list[Path]:
    """Every picture under a folder, by name.

    Raises
    ------
    SourceNotFound
        Not one.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise SourceNotFound(f"expected pictures without people in {folder}, found none", f"any of {_SUFFIXES}")
    return paths
