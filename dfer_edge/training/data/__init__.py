"""Data sets by name: ``"dfew:/path"``, ``"shards:/path"``; each with its official splits."""

from __future__ import annotations

from dfer_edge.training.data.opening import Split, open_named, open_split
from dfer_edge.training.data.registry import LAYOUTS
from dfer_edge.training.data.samples import ClipDataset, Sample, Subset, UnreadableClip

__all__ = ["LAYOUTS", "ClipDataset", "Sample", "Split", "Subset", "UnreadableClip", "open_named", "open_split"]
