"""Weights files: whatever reads, writes, shrinks, joins or converts them lives here. Reading needs no torch.

:mod:`~dfer_edge.weights.file` has the format, :mod:`~dfer_edge.weights.compact` its int8 layout,
:mod:`~dfer_edge.weights.trunk` and :mod:`~dfer_edge.weights.head` files that share a trunk,
:mod:`~dfer_edge.weights.convert` checkpoints of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfer_edge._names import lazy

if TYPE_CHECKING:
    from dfer_edge.weights.file import (
        COMPACT_FORMAT,
        FORMAT,
        SHIPPED,
        Weights,
        content_hash,
        identity,
        import_backbone,
        labels_mean_nothing,
        load,
        load_into,
        random,
        ranges_beside,
        resolve,
        rewrite_notes,
        save,
        shipped,
        store,
        write,
    )

__all__ = [
    "COMPACT_FORMAT",
    "FORMAT",
    "SHIPPED",
    "Weights",
    "content_hash",
    "identity",
    "import_backbone",
    "labels_mean_nothing",
    "load",
    "load_into",
    "random",
    "ranges_beside",
    "resolve",
    "rewrite_notes",
    "save",
    "shipped",
    "store",
    "write",
]

__getattr__, __dir__ = lazy(__name__, {"file": __all__})
