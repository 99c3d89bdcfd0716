"""Exact inference forms of the networks, one definition each, without torch.

``record`` gives the nodes, shapes, weights and cost of a network's inference form.
"""

from __future__ import annotations

from dfer_edge.inference.base import FORMS, Form
from dfer_edge.inference.symbolic import SymbolicGraph, Value
from dfer_edge.models import registry
from dfer_edge.spec import ModelSpec

__all__ = ["FORMS", "Form", "SymbolicGraph", "Value", "record"]


def record(spec: ModelSpec, form: Form = "3d") -> tuple[SymbolicGraph, list[Value], Value]:
    """The recorded inference form of ``spec``: graph, inputs, logits."""
    graph = SymbolicGraph(form)
    inputs = [graph.input("clip" if spec.input == "clip" else "image", spec.input_shape)]
    if spec.landmarks:
        inputs.append(graph.input("landmarks", (spec.frames, spec.landmarks, 2)))
    return graph, inputs, registry.find(spec.name).inference().build(graph, inputs, spec)
