"""The table: parts that are whole or not there, and one Parquet file of all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.errors import DferError, EngineUnavailable
from dfer_edge.label.rows import EDGES, Row

_SETUP = b"dfer_edge.setup"


def arrow() -> Any:
    """The package pyarrow.

    Raises
    ------
    EngineUnavailable
        Without it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise EngineUnavailable("a table needs pyarrow", 'pip install "dfer-edge[label]"') from error
    return pyarrow


def schema(labels: Sequence[str], setup: str) -> Any:
    """Columns of the table; ``p_LABEL`` is the probability of a class. ``setup`` travels in the metadata."""
    pa = arrow()
    fields = [
        ("file", pa.string()),
        ("bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("track_id", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("frames_seen", pa.int32()),
        ("label", pa.string()),
        ("confidence", pa.float32()),
        *((edge, pa.float32()) for edge in EDGES),
        *((f"p_{label}", pa.float32()) for label in labels),
    ]
    return pa.schema(fields, metadata={_SETUP: setup.encode()})


class Parts:
    """Rows of single files beside the table to come; each part is whole or not there, whatever kills the process.

    Parameters
    ----------
    out
        The table; parts lie in ``OUT.parts``.
    labels
        Of the network.
    setup
        What the rows follow from; parts and tables of another setup are not used.
    """

    def __init__(self, out: Path, labels: Sequence[str], setup: str) -> None:
        self._pa, self._out, self._labels = arrow(), out, tuple(labels)
        self._schema = schema(labels, setup)
        self._folder = out.with_name(f"{out.name}.parts")
        self._setup = setup.encode()

    def known(self, stamps: Mapping[str, tuple[int, int]]) -> set[str]:
        """Files whose rows are there, by their size and time of change; other parts are left to be overwritten."""
        found = set()
        if (whole := self._read(self._out)) is not None:
            for file in self._unchanged(whole, stamps):
                rows = whole.filter(self._pa.compute.equal(whole["file"], file))
                self._publish(rows, self._path(file))
                found.add(file)
        for file in stamps:
            part = self._read(self._path(file))
            if part is not None and file in self._unchanged(part, stamps):
                found.add(file)
        return found

    def add(self, rows: Sequence[Row]) -> None:
        """The rows of one file.

        Raises
        ------
        DferError
            If they cannot be written, e.g. on a full disk; what was there stays.
        """
        columns = {name: [self._value(row, name) for row in rows] for name in self._schema.names}
        self._publish(self._pa.table(columns, schema=self._schema), self._path(rows[0]["file"]))

    def merge(self, files: Iterable[str]) -> int:
        """Write the table of all files, in order, then remove the parts; its rows.

        Raises
        ------
        DferError
            If it cannot be written, or a part is not there.
        """
        tables = []
        for file in sorted(files):
            part = self._read(self._path(file))
            if part is None:
                raise DferError(f"expected rows of {file} in {self._folder}, found none", "run the command again")
            tables.append(part)
        empty = self._schema.empty_table()
        whole = self._pa.concat_tables([empty, *tables]).combine_chunks()
        self._publish(whole, self._out)
        for path in self._folder.glob("*"):
            path.unlink()
        if self._folder.is_dir():
            self._folder.rmdir()
        return int(whole.num_rows)

    def _value(self, row: Row, name: str) -> Any:
        if name.startswith("p_"):
            return None if row["probabilities"] is None else row["probabilities"][name[2:]]
        return row[name]

    def _path(self, file: str) -> Path:
        # Names of files may be too long, or the same but for their case.
        return self._folder / f"{hashlib.sha256(file.encode(errors='surrogateescape')).hexdigest()[:32]}.parquet"

    def _read(self, path: Path) -> Any:
        """A table of this setup, or None."""
        try:
            table = self._pa.parquet.read_table(path)
        except (OSError, self._pa.ArrowInvalid):
            return None
        is_ours = (table.schema.metadata or {}).get(_SETUP) == self._setup
        return table if is_ours and table.schema.equals(self._schema) else None

    def _unchanged(self, table: Any, stamps: Mapping[str, tuple[int, int]]) -> set[str]:
        columns = (table[name].to_pylist() for name in ("file", "bytes", "modified_ns"))
        return {file for file, size, changed in zip(*columns, strict=True) if stamps.get(file) == (size, changed)}

    def _publish(self, table: Any, path: Path) -> None:
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                self._pa.parquet.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DferError(
                f"cannot write {path.name}: {error.strerror or error}", "what was labelled so far is kept; run it again"
            ) from error
