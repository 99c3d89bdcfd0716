"""Ranges of whole networks without a clip: which layers run in int8 does not depend on the numbers."""

from __future__ import annotations

from pathlib import Path

from dfer_edge.calibration import RangeTable
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.placement import plan
from dfer_edge.calibration.table import Range


def table(path: Path, name: str) -> RangeTable:
    index = GraphIndex(read(path), path)
    ranges = {}
    for place, origins in plan(index).places().items():
        signed = any(origin in index.inputs or index.producers[origin].op_type != "Relu" for origin in origins)
        ranges[place] = Range(-8.0 if signed else 0.0, 8.0, 8.0)
    return RangeTable(name, index.identity(), "random", "made up", 16, "minmax", ranges)
