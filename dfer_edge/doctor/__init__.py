"""The doctor: reports for ``dfer-edge doctor`` live here; they look at every other room, and none looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfer_edge._names import lazy

if TYPE_CHECKING:
    from dfer_edge.doctor.machine import report

__all__ = ["report"]

__getattr__, __dir__ = lazy(
    __name__,
    {"machine": ("report",)},
)
