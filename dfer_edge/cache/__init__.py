"""The cache: what is kept on disk between runs, how it is keyed, checked and fetched lives here, not what it means.

:mod:`~dfer_edge.cache.store` has entries, :mod:`~dfer_edge.cache.manifest` what proves them whole,
:mod:`~dfer_edge.cache.hashing` hashes of files, :mod:`~dfer_edge.cache.downloads` what is fetched when asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfer_edge._names import lazy

if TYPE_CHECKING:
    from dfer_edge.cache.store import Entry, Key, clear, discard, entries, find, obtain, publications, put

__all__ = ["Entry", "Key", "clear", "discard", "entries", "find", "obtain", "publications", "put"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "store": (
            "Entry",
            "Key",
            "clear",
            "discard",
            "entries",
            "find",
            "obtain",
            "publications",
            "put",
        )
    },
)
