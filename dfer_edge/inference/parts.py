"""A network as a whole; cut into what a stream computes once per step and once per window; or up to its classifier.

A step is the shortest run of frames whose features depend on no other frame: one frame, or the frames of a tubelet.
A family that can be cut says so in the registry (``frames_per_step``) and has two functions beside ``build``, with
``build(graph, inputs, spec) = window_head(graph, step_features(graph, inputs, spec), spec)`` to rounding:

- ``step_features(graph, inputs, spec)``: features [B, n, ...] of inputs that hold n steps, whatever ``spec.frames``;
- ``window_head(graph, features, spec)``: logits [B, K] of the features [B, steps, ...] of a window, oldest first.

Overlapping windows share their steps' features, which is exact: nothing is approximated or kept too long.

The part ``embedding`` is what the classifier reads: every family has it, since every family ends in a linear layer with
an output a class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.inference.base import Form, Graph, T
from dfer_edge.inference.symbolic import SymbolicGraph, Value
from dfer_edge.spec import ModelSpec

Part = Literal["whole", "features", "head", "embedding"]
PARTS: tuple[Part, ...] = ("whole", "features", "head", "embedding")
LOGITS, FEATURES, EMBEDDING = "logits", "features", "embedding"


@dataclasses.dataclass(frozen=True)
class Streaming:
    """How a window of a network falls into steps.

    Attributes
    ----------
    frames_per_step
        Frames whose features are computed together.
    steps
        Steps of a window; ``spec.frames`` beyond the last whole step are never read.
    feature_shape
        Of one step's features, float.
    """

    frames_per_step: int
    steps: int
    feature_shape: tuple[int, ...]

    @classmethod
    def of(cls, spec: ModelSpec) -> Streaming:
        """The steps of a network.

        Raises
        ------
        InvalidInput
            If no part of the network can be re-used between windows; the message says why.
        """
        frames = _frames_per_step(spec)
        _, _, features = record(spec, part="features")
        return cls(frames, spec.frames // frames, features.shape[2:])


def _frames_per_step(spec: ModelSpec) -> int:
    entry = registry.find(spec.name)
    if not entry.frames_per_step:
        raise InvalidInput(f"expected a network that windows can share features of, got {spec.name}: {entry.no_steps}")
    return entry.frames_per_step


def input_shapes(spec: ModelSpec, part: Part = "whole") -> dict[str, tuple[int, ...]]:
    """Input name -> shape without the batch axis.

    ``clip`` [3, T, H, W] or ``image`` [3, H, W], and ``landmarks`` [T, 68, 2] where the network takes them; T is one
    step for the features part. ``features`` [steps, ...] for the head.
    """
    if part == "head":
        streaming = Streaming.of(spec)
        return {FEATURES: (streaming.steps, *streaming.feature_shape)}
    if part == "features":
        spec = dataclasses.replace(spec, frames=_frames_per_step(spec))
    shapes = {"clip" if spec.input == "clip" else "image": spec.input_shape}
    return shapes | ({"landmarks": (spec.frames, spec.landmarks, 2)} if spec.landmarks else {})


def output_name(part: Part) -> str:
    """``features`` and ``embedding`` of the parts of that name, ``logits`` of the others."""
    return {"features": FEATURES, "embedding": EMBEDDING}.get(part, LOGITS)


class _ClassifierReached(Exception):
    def __init__(self, read: Any) -> None:
        super().__init__()
        self.read = read


class _UpToClassifier(Generic[T]):
    """A graph in which a build ends at the linear layer with an output a class; its weights are never asked for."""

    kernels: frozenset[str] = frozenset()  # a fused head has no inside

    def __init__(self, graph: Graph[T], classes: int) -> None:
        self._graph, self._classes = graph, classes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)

    def weight(self, name: str, shape: Sequence[int], gain: float = 1.0, layout: Sequence[int] | None = None) -> Any:
        if shape[0] == self._classes and len(shape) < 3:
            return None
        return self._graph.weight(name, shape, gain, layout)

    def linear(self, x: T, weight: T | None, bias: T | None) -> T:
        if weight is None:
            raise _ClassifierReached(x)
        return self._graph.linear(x, weight, bias)


def build(graph: Graph[T], inputs: Sequence[T], spec: ModelSpec, part: Part = "whole") -> T:
    """Logits [B, K]; features [B, n, ...] of n steps; or the embedding [B, D], [B, T, D] if frames are classified."""
    family = registry.find(spec.name).inference()
    if part == "embedding":
        try:
            family.build(_UpToClassifier(graph, spec.num_classes), inputs, spec)
        except _ClassifierReached as reached:
            read: T = reached.read
            return read
        raise AssertionError(f"{spec.name} has no classifier")
    if part == "features":
        output: T = family.step_features(graph, inputs, spec)
    else:
        output = family.window_head(graph, inputs[0], spec) if part == "head" else family.build(graph, inputs, spec)
    return output


def record(spec: ModelSpec, form: Form = "3d", part: Part = "whole") -> tuple[SymbolicGraph, list[Value], Value]:
    """The recorded inference form of ``spec`` or of a part of it: graph, inputs, output.

    Raises
    ------
    InvalidInput
        For a part of a network that cannot be cut, or an unknown part.
    """
    if part not in PARTS:
        raise InvalidInput(f"expected a part out of {', '.join(PARTS)}; got {part!r}")
    graph = SymbolicGraph(form)
    inputs = [graph.input(name, shape) for name, shape in input_shapes(spec, part).items()]
    output = build(graph, inputs, spec, part)
    if part == "embedding":
        graph.keep_only(output)
    return graph, inputs, output


def check_feed(feed: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, Any]) -> None:
    """Check named arrays of numpy or torch against ``shapes`` (without the batch axis) and dtypes.

    Raises
    ------
    InvalidInput
        For a missing or unknown name, another shape or dtype, or batch sizes that differ or are 0.
    """
    if set(feed) != set(shapes):
        raise InvalidInput(f"expected inputs {sorted(shapes)}, got {sorted(feed)}")
    actual = {name: tuple(getattr(value, "shape", ())) for name, value in feed.items()}
    batches = {shape[0] if shape else 0 for shape in actual.values()}
    if len(batches) != 1 or batches == {0}:
        raise InvalidInput(f"expected one batch size of at least 1 for all inputs, got {sorted(batches)}")
    for name, shape in shapes.items():
        kind, dtype = getattr(feed[name], "dtype", None), dtypes[name]
        if actual[name][1:] != shape or kind != dtype:
            expected, got = (", ".join(map(str, s)) for s in (shape, actual[name][1:]))
            raise InvalidInput(f"expected {name} as {dtype} [B, {expected}], got {kind} [B, {got}]")
