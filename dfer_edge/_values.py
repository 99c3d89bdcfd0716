"""What values that hold arrays and mappings need to be good values: equality, a hash, HTML for notebooks, tables."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfer_edge.errors import EngineUnavailable

if TYPE_CHECKING:
    import pandas as pd

# Rows of an HTML table; what is left out is said.
_MOST_ROWS = 20


class Value:
    """Equality, hash and repr for frozen dataclasses (``eq=False, repr=False``) with arrays.

    By content, NaN equal to itself; arrays are shown by dtype and shape.
    """

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(mine, theirs) for mine, theirs in zip(_fields(self), _fields(other), strict=True))

    def __repr__(self) -> str:
        shown = (f"{f.name}={_short(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __hash__(self) -> int:
        return hash((type(self).__name__, *(_hashable(value) for value in _fields(self))))


def _fields(value: Any) -> list[Any]:
    return [getattr(value, field.name) for field in dataclasses.fields(value)]


def _short(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)) or a.dtype != b.dtype:
            return False
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return bool(a == b)


def _hashable(value: Any) -> object:
    if isinstance(value, np.ndarray):
        # Its shape alone: zero and minus zero, and the many NaNs, are equal and have other bytes.
        return value.shape
    if isinstance(value, Mapping):
        return frozenset(value.items())
    return value if isinstance(value, Hashable) else repr(value)


def ranked(labels: Sequence[str], probabilities: Iterable[float], most: int) -> str:
    """The ``most`` likeliest classes: ``happy 0.93, neutral 0.04``."""
    order = sorted(zip(labels, map(float, probabilities), strict=True), key=lambda item: -item[1])
    return ", ".join(f"{label} {probability:.2f}" for label, probability in order[:most])


def html_bars(labels: Sequence[str], probabilities: Iterable[float]) -> str:
    """A row a class: name, bar, probability."""
    rows = (
        f"<tr><td>{html.escape(label)}</td><td><div style='background:#4a90d9;height:0.8em;width:{10 * p:.2f}em'>"
        f"</div></td><td>{p:.2f}</td></tr>"
        for label, p in zip(labels, map(float, probabilities), strict=True)
    )
    return f"<table>{''.join(rows)}</table>"


def html_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A captioned table, everything escaped."""

    def line(cells: Iterable[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows[:_MOST_ROWS])
    rest = f"<p>and {len(rows) - _MOST_ROWS} more</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table><caption>{html.escape(caption)}</caption>{line(columns, 'th')}{body}</table>{rest}"


def data_frame(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> pd.DataFrame:
    """A table of pandas, which is imported here alone.

    Raises
    ------
    EngineUnavailable
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise EngineUnavailable(
            "a table needs pandas, which is not installed", 'pip install "dfer-edge[pandas]"'
        ) from error
    return pd.DataFrame(rows, columns=list(columns))
