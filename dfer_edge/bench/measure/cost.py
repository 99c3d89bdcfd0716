"""What a network costs before anything runs: multiply-accumulates, and bytes that must move."""

from __future__ import annotations

import dataclasses
import functools
import math

from dfer_edge.inference import SymbolicGraph, record
from dfer_edge.spec import ModelSpec

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
_LAYERS = ("Conv", "Gemm")


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one sample (a clip, or an image of an image network), in the inference form.

    Attributes
    ----------
    macs
        Of convolutions, linear layers and matrix products.
    weights
        Elements, read once.
    activations
        Elements read and written by convolutions and linear layers, each input and output once: what cannot be avoided
        without fusing one layer's product with the next.
    """

    macs: int
    weights: int
    activations: int

    def bytes(self, precision: str, batch: int = 1) -> float:
        """Moved for a batch; weights are read once for all of it."""
        return BYTES[precision] * (self.weights + batch * self.activations)

    def seconds(self, precision: str, flops: float, bandwidth: float, batch: int = 1) -> float:
        """The roofline's bound of a batch: arithmetic or traffic, whichever takes longer."""
        return max(2 * self.macs * batch / flops, self.bytes(precision, batch) / bandwidth)


def of(spec: ModelSpec) -> Cost:
    """Cost of the network that ``spec`` describes; nothing is computed."""
    return _of(spec.to_json())


@functools.lru_cache(maxsize=32)
def _of(spec: str) -> Cost:
    graph, inputs, _ = record(ModelSpec.from_json(spec))
    shapes = {value.name: value.shape for value in inputs} | {
        node.output.name: node.output.shape for node in graph.nodes
    }
    moved = 0
    for node in graph.nodes:
        if node.op in _LAYERS:
            moved += _elements(graph, node.inputs[0], shapes[node.inputs[0]])
            moved += _elements(graph, node.output.name, node.output.shape)
    return Cost(graph.macs, graph.parameters, moved)


def _elements(graph: SymbolicGraph, name: str, shape: tuple[int, ...]) -> int:
    """Of one sample: the leading axis is open and holds ``batch_factor`` rows a sample."""
    return graph.batch_factor.get(name, 1) * math.prod(shape[1:])
