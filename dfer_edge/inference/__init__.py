"""Exact inference forms of the networks, one definition each, without torch.

``record`` gives the nodes, shapes, weights and cost of a network's inference form, or of a part of it.
"""

from __future__ import annotations

from dfer_edge.inference.base import FORMS, Form
from dfer_edge.inference.parts import PARTS, Part, Streaming, record
from dfer_edge.inference.symbolic import SymbolicGraph, Value

__all__ = ["FORMS", "PARTS", "Form", "Part", "Streaming", "SymbolicGraph", "Value", "record"]
