"""A network of five convolutions, made by the project's own writer: small enough for a test, with every pattern."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from dfer_edge.inference import forms
from dfer_edge.inference.onnx_writer import write_onnx
from dfer_edge.inference.random_weights import RandomWeights
from dfer_edge.inference.symbolic import SymbolicGraph
from dfer_edge.spec import ModelSpec

SPEC = ModelSpec(
    name="tiny",
    labels=("a", "b", "c"),
    frames=4,
    size=12,
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
)
CLIP = (3, SPEC.frames, SPEC.size, SPEC.size)
CONVS = ("stem", "project.shortcut", "project.a", "project.c", "plain.a", "plain.c", "gate")


def network(path: Path, form: str = "3d", disturb=None) -> Path:
    """Stem, max pooling, a block with projection, a plain block, a gate, a concatenation's worth of shifts, a head."""
    graph = SymbolicGraph(form)
    frames = SPEC.frames
    clip = graph.input("clip", CLIP)
    x = graph.relu(forms.spatial_conv(graph, forms.enter(graph, clip), "stem", 16, 3))
    x = forms.spatial_max_pool(graph, x, 3, 2)
    identity = forms.spatial_conv(graph, x, "project.shortcut", 32, 1, gain=1.0)
    y = graph.relu(forms.temporal_conv(graph, x, "project.a", 18, 3, frames))
    x = graph.relu(graph.add(identity, forms.spatial_conv(graph, y, "project.c", 32, 3, gain=0.5)))
    y = graph.relu(forms.spatial_conv(graph, x, "plain.a", 16, 3))
    x = graph.relu(graph.add(x, forms.temporal_conv(graph, y, "plain.c", 32, 3, frames, gain=0.5)))
    x = graph.mul(x, graph.activate(forms.spatial_conv(graph, x, "gate", 1, 3), "sigmoid"))
    pooled = forms.global_mean(graph, x, frames)
    hidden = graph.relu(graph.linear(pooled, graph.weight("hidden.weight", (16, 32), 2.0), None))
    output = graph.linear(hidden, graph.weight("head.weight", (3, 16), 3.0), graph.weight("head.bias", (3,), 0.1))
    weights = dict(RandomWeights(graph, seed=3))
    if disturb:
        disturb(weights)
    notes = {
        "dfer_edge.model": "tiny",
        "dfer_edge.spec": SPEC.to_json(),
        "dfer_edge.weights": "random",
        "dfer_edge.weights_sha256": str(float(sum(float(np.abs(w).sum(dtype=np.float64)) for w in weights.values()))),
        "dfer_edge.form": form,
    }
    write_onnx(path, graph, [clip], output, weights, notes)
    return path


def clips(count: int = 16, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    shifts = 2 * rng.standard_normal((count, 1, 3, 1, 1, 1), np.float32)  # colours that tell clips apart
    return [{"clip": rng.standard_normal((1, *CLIP), np.float32) + shift} for shift in shifts]


def retold(table, **ranges):
    """The table with some thresholds changed, as ``place__input=value``."""
    changed = dict(table.ranges)
    for place, threshold in ranges.items():
        changed[place] = dataclasses.replace(changed[place], threshold=threshold)
    return dataclasses.replace(table, ranges=changed)
