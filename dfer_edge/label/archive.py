"""From a folder to its table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dfer_edge.errors import InvalidInput
from dfer_edge.label.rows import FAILED, NO_FACE, Row, Setup, rows_of
from dfer_edge.label.table import Parts, arrow
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.opening import is_media

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run did: files found, labelled now, known before, without a face, failed; rows of the table."""

    files: int
    labelled: int
    known: int
    no_face: int
    failed: int
    rows: int


def label_archive(
    folder: str | Path,
    out: str | Path,
    setup: Setup | None = None,
    ray_address: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Label every video and image below a folder; what an earlier run of the same setup did is not done again.

    The table is the same however often the run was interrupted and wherever it ran: one row a person and window, in
    order of file, person and time; a file without rows of its own has one with ``status`` and ``reason``.

    Parameters
    ----------
    folder
        Searched with its sub-folders for what :func:`dfer_edge.sources.is_media` knows; other files are passed over.
    out
        The Parquet file.
    setup
        The recogniser and its window.
    ray_address
        Of a Ray cluster that sees the folder under the same path; ``local`` starts one. None stays in this process.
    workers
        Processes on the cluster.
    progress
        Called with files done and files in all.

    Raises
    ------
    InvalidInput
        If there is no folder, or nothing in it to label.
    EngineUnavailable
        Without pyarrow, or without Ray where it is asked for.
    DferError
        If the table cannot be written; what was labelled so far is kept.
    """
    root, out, setup = Path(folder), Path(out), setup or Setup()
    arrow()
    stamps = _stamps(root)
    recognizer = setup.recognizer()
    parts = Parts(out, recognizer.spec.labels, _identity(recognizer, setup))
    known = parts.known(stamps)
    wanted = [name for name in sorted(stamps) if name not in known]
    labelled = no_face = failed = 0
    for rows in _labelled(recognizer, root, wanted, setup, ray_address, workers):
        parts.add(rows)
        labelled += 1
        no_face += rows[0]["status"] == NO_FACE
        failed += rows[0]["status"] == FAILED
        if progress:
            progress(labelled, len(wanted))
    count = parts.merge(stamps)
    return Report(len(stamps), labelled, len(known), no_face, failed, count)


def _labelled(
    recognizer: Recognizer,
    root: Path,
    names: list[str],
    setup: Setup,
    ray_address: str | None,
    workers: int | None,
) -> Iterator[list[Row]]:
    if ray_address is None or not names:
        for name in names:
            yield rows_of(recognizer, root, name, setup.window_s)
        return
    from dfer_edge.label.cluster import labelled_on_ray

    yield from labelled_on_ray(root, names, setup, ray_address, workers)


def _stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file to label, by its path below the folder."""
    if not root.is_dir():
        raise InvalidInput(f"expected a folder, got {root}")
    found = {}
    for path in _files(root):
        stat = path.stat()
        found[path.relative_to(root).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    if not found:
        raise InvalidInput(f"expected videos or images in {root}, found none")
    return found


def _files(root: Path) -> Iterable[Path]:
    for path in root.rglob("*"):
        # Told by content only where the name says nothing: of those, what cannot be read is no medium.
        with contextlib.suppress(OSError):
            if is_media(path):
                yield path


def _identity(recognizer: Recognizer, setup: Setup) -> str:
    """What must be the same for rows to be used again."""
    info = recognizer.info()
    keys = ("model", "weights", "engine", "precision", "detector", "face_box", "landmark_detector")
    return json.dumps({**{key: info[key] for key in keys}, "window_s": setup.window_s}, sort_keys=True)
