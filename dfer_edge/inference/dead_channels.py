"""Channels that are always zero, or that nothing reads, left out of a network: exact, found in its weights.

Weights that were carried over from a smaller network leave many: whole blocks of a residual stack may add nothing. A
channel is dead if every convolution or linear layer that reads it has zeros for it, and so is one that is the same
everywhere: its share goes into the biases of those that read it, where no zero padding would show. What is left out was
multiplied by zero, so logits stay what they are, but for the order of sums.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import CorruptArtifact
from dfer_edge.inference.folding import Array
from dfer_edge.inference.symbolic import Node, SymbolicGraph, Value, WeightInfo

Channels = npt.NDArray[np.bool_]

# Operations whose output has the channels of its inputs, each made of the same channel of them alone.
_CHANNELWISE = frozenset({"Relu", "MaxPool", "Add", "Reshape", "Transpose", "ReduceMean"})
# Operations whose output channels are each a sum over the channels of their input.
_SUMS = frozenset({"Conv", "Gemm"})


NOTE = "dfer_edge.channels"
"""Metadata entry: JSON, weight -> masks of the channels that are there, out and in, as :func:`_packed` writes them; an
empty list for a weight that is not."""


@dataclasses.dataclass(frozen=True)
class Trimmed:
    """A network without its dead channels; names are as before.

    Attributes
    ----------
    graph, output, weights
        What there is to write.
    note
        For :data:`NOTE`; empty if no channel is dead.
    """

    graph: SymbolicGraph
    output: Value
    weights: Mapping[str, Array]
    note: str = ""


def leave_out(graph: SymbolicGraph, output: Value, weights: Mapping[str, Array]) -> Trimmed:
    """The same network without its dead channels.

    Parameters
    ----------
    graph, output
        The recording. Its inputs and its output keep their shapes.
    weights
        Of the recording, by name; not changed.
    """
    search = _Search(graph, output, weights)
    while search.sweep():
        pass
    kept = _kept(graph, search)
    if all(channels.all() for channels in kept.values()):
        return Trimmed(graph, output, weights)
    return _rebuilt(graph, output, weights, search, kept)


def put_back(values: Mapping[str, Array], note: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Weights of a file with zeros for what was left out of it: for engines that build the recorded form themselves.

    Parameters
    ----------
    values
        Weights of the file, by name.
    note
        Its entry :data:`NOTE`.
    shapes
        Of the whole network's weights, by name.

    Raises
    ------
    CorruptArtifact
        If they do not fit together.
    """
    found = dict(values)
    try:
        for name, masks in json.loads(note).items():
            if name not in shapes or (name in values and values[name].size == math.prod(shapes[name])):
                continue
            whole = np.zeros(shapes[name], np.float32)
            if masks:
                there = np.ix_(*(_unpacked(mask, size) for mask, size in zip(masks, whole.shape, strict=False)))
                whole[there] = values[name].reshape(*(len(axis.ravel()) for axis in there), *whole.shape[len(masks) :])
            found[name] = whole
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CorruptArtifact(f"expected the channels of a network in {NOTE}, got {note[:80]!r}: {error}") from error
    return found


def _packed(mask: Channels) -> str:
    """Bits in hexadecimal, the first channel highest."""
    return np.packbits(mask).tobytes().hex()


def _unpacked(text: str, count: int) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=count))


class _Conv:
    """A convolution or linear layer: weight [O, I, ...], bias [O] in float64, and which pairs [O, I] have a say."""

    def __init__(self, node: Node, weight: Array, bias: Array) -> None:
        self.node, self.weight, self.bias = node, weight, np.array(bias, np.float64)
        self.says: Channels = np.asarray(weight.reshape(*weight.shape[:2], -1).any(2), bool)

    @property
    def arrays(self) -> dict[str, Array]:
        """By name, with zeros where nothing is said."""
        mask = self.says.reshape(*self.says.shape, *[1] * (self.weight.ndim - 2))
        return dict(zip(self.node.inputs[1:], (self.weight * mask, self.bias), strict=True))


class _Search:
    """Finds what is dead, in sweeps back and forth.

    Attributes
    ----------
    convs
        By name of the output.
    known
        Values whose channels can be told apart: name -> what a channel is everywhere, NaN where that depends.
    axis
        Which axis of a known value its channels are.
    heard
        By name of a known value.
    """

    def __init__(self, graph: SymbolicGraph, output: Value, weights: Mapping[str, Array]) -> None:
        self._graph = graph
        self._uses = Counter(name for node in graph.nodes for name in node.inputs)
        self.convs: dict[str, _Conv] = {}
        self.known: dict[str, Array] = {}
        self.axis: dict[str, int] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        self.heard: dict[str, Channels] = {}
        for node in graph.nodes:
            name, axis = node.output.name, 1
            shapes[name] = node.output.shape
            if self._is_conv(node):
                self.convs[name] = _Conv(node, weights[node.inputs[1]], weights[node.inputs[2]])
            else:
                axis = _axis(node, self.axis, shapes)
            if axis > 0:
                self.known[name], self.axis[name] = np.full(node.output.shape[axis], np.nan), axis
        self._pinned = {output.name} | {
            name for node in graph.nodes if node.output.name not in self.known for name in node.inputs
        }

    def _is_conv(self, node: Node) -> bool:
        if node.op not in _SUMS or len(node.inputs) != 3 or self.axis.get(node.inputs[0], 1) != 1:
            return False
        if any(self._uses[name] != 1 or name not in self._graph.weights for name in node.inputs[1:]):
            return False
        # In other layouts the second axis may not be that of the input's channels.
        info = self._graph.weights[node.inputs[1]]
        return info.layout[:2] == info.shape[:2]

    def sweep(self) -> bool:
        """Once forth and back; whether more turned out to be dead."""
        before = sum(np.count_nonzero(conv.says) for conv in self.convs.values())
        for node in self._graph.nodes:
            if node.output.name in self.known:
                self.known[node.output.name] = self._constant(node)
        self._hear()
        return bool(sum(np.count_nonzero(conv.says) for conv in self.convs.values()) < before)

    def _constant(self, node: Node) -> Array:
        conv = self.convs.get(node.output.name)
        if conv is None:
            values = [self.known[name] for name in node.inputs if name in self.known]
            found: Array = values[0] + values[1] if node.op == "Add" else values[0]
            return np.asarray(np.maximum(found, 0)) if node.op == "Relu" else found
        given = self.known.get(node.inputs[0])
        if given is not None:
            # Zero padding is no constant, unless the constant is zero.
            folds = (given == 0) if any(node.attributes.get("pads", ())) else ~np.isnan(given)
            shares = folds & (given != 0) & conv.says.any(0)
            taps = conv.weight[:, shares].sum(tuple(range(2, conv.weight.ndim)), dtype=np.float64)
            conv.bias += (taps * conv.says[:, shares]) @ given[shares]
            conv.says[:, folds] = False
        return np.where(conv.says.any(1), np.nan, conv.bias)

    def _hear(self) -> None:
        self.heard = {name: np.full(len(v), name in self._pinned) for name, v in self.known.items()}
        for node in reversed(self._graph.nodes):
            heard = self.heard.get(node.output.name)
            if heard is None:
                continue
            conv = self.convs.get(node.output.name)
            if conv is not None:
                conv.says[~heard], conv.bias[~heard] = False, 0
                heard = np.asarray(conv.says.any(0), bool)
            for name in node.inputs[: 1 if conv is not None else None]:
                if name in self.heard:
                    self.heard[name] = self.heard[name] | heard


def _axis(node: Node, axes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Which axis of an output holds the channels of a known input; 0 if none does."""
    found = {axes.get(name, 0) for name in node.inputs[: 2 if node.op == "Add" else 1]}
    if node.op not in _CHANNELWISE or len(found) != 1 or found == {0}:
        return 0
    (axis,), shape = found, node.output.shape
    if node.op == "Transpose":
        return tuple(node.attributes["perm"]).index(axis)
    if node.op == "ReduceMean":
        rank = len(shapes[node.inputs[0]])
        gone = {place % rank for place in node.attributes["axes"]}
        return 0 if axis in gone else axis - (0 if node.attributes["keepdims"] else sum(place < axis for place in gone))
    if node.op == "Reshape":
        given = shapes[node.inputs[0]]
        # The leading axis may be open, so places are counted from the end.
        same = [k for k in range(1, len(shape)) if math.prod(shape[k + 1 :]) == math.prod(given[axis + 1 :])]
        return next((k for k in same if shape[k] == given[axis]), 0)
    return axis


def _rebuilt(
    graph: SymbolicGraph,
    output: Value,
    weights: Mapping[str, Array],
    search: _Search,
    kept: Mapping[str, Channels],
) -> Trimmed:
    made = _copied(graph)
    narrowed: dict[str, Array] = {}
    masks: dict[str, list[str]] = {}
    same: dict[str, str] = {}
    positive: set[str] = set()
    for node in graph.nodes:
        name, conv = node.output.name, search.convs.get(node.output.name)
        if name in kept:
            axis, count = search.axis[name], int(kept[name].sum())
            shape = (*node.output.shape[:axis], count, *node.output.shape[axis + 1 :])
            alias = _alias(node, search.known, kept[name], positive, same)
            if alias is not None:
                same[name] = alias
                continue
            node = dataclasses.replace(node, output=Value(name, shape))
            if node.op == "Reshape":
                made.constants[node.inputs[1]] = np.asarray(shape, np.int64)
        node = dataclasses.replace(node, inputs=tuple(same.get(entry, entry) for entry in node.inputs))
        if conv is not None:
            there = {conv.node.inputs[1]: _axes(conv, kept), conv.node.inputs[2]: (kept[name],)}
            node = _narrow(node, made, there)
            narrowed |= {key: array[np.ix_(*there[key])] for key, array in conv.arrays.items()}
            masks |= {key: [_packed(axis) for axis in axes] for key, axes in there.items()}
        if node.op == "Relu" or (node.op == "MaxPool" and node.inputs[0] in positive):
            positive.add(name)
        made.nodes.append(node)
    end = Value(same.get(output.name, output.name), output.shape)
    made.keep_only(end)
    masks = {name: masks[name] if name in made.weights else [] for name in masks}
    return Trimmed(made, end, {**weights, **narrowed}, json.dumps(masks))


def _copied(graph: SymbolicGraph) -> SymbolicGraph:
    """Everything but the nodes."""
    made = SymbolicGraph(graph.form)
    made.weights, made.constants, made.batch_factor = dict(graph.weights), dict(graph.constants), graph.batch_factor
    return made


def _kept(graph: SymbolicGraph, search: _Search) -> dict[str, Channels]:
    """Channels that stay, by value: the same ones wherever values meet channel by channel."""
    group = {name: name for name in search.known}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in graph.nodes:
        if node.output.name in search.known and node.output.name not in search.convs:
            for name in set(node.inputs) & group.keys():
                group[root(name)] = root(node.output.name)
    union: dict[str, Channels] = defaultdict(lambda: np.zeros(1, bool))
    for name, heard in search.heard.items():
        union[root(name)] = union[root(name)] | heard
    for channels in union.values():
        # No engine takes a tensor without channels.
        channels[0] = channels[0] or not channels.any()
    return {name: union[root(name)] for name in search.known}


def _axes(conv: _Conv, kept: Mapping[str, Channels]) -> tuple[Channels, Channels]:
    """Channels of a convolution that stay, out and in."""
    source, out = conv.node.inputs[0], conv.node.output.name
    return kept[out], kept.get(source, np.ones(conv.says.shape[1], bool))


def _narrow(node: Node, made: SymbolicGraph, there: Mapping[str, tuple[Channels, ...]]) -> Node:
    share = 1.0
    for name, axes in there.items():
        info, lead = made.weights[name], tuple(int(axis.sum()) for axis in axes)
        shape, layout = ((*lead, *full[len(lead) :]) for full in (info.shape, info.layout))
        made.weights[name] = WeightInfo(name, shape, info.gain, layout)
        if len(lead) > 1:
            share = made.weights[name].size / info.size
    return dataclasses.replace(node, macs=round(node.macs * share))


def _alias(
    node: Node, known: Mapping[str, Array], channels: Channels, positive: set[str], same: Mapping[str, str]
) -> str | None:
    """The input that an operation gives on unchanged: an addition of zeros, a ReLU of what is positive."""
    inputs = [same.get(name, name) for name in node.inputs]
    if node.op == "Relu" and inputs[0] in positive:
        return inputs[0]
    if node.op == "Add":
        for zero, other in ((0, 1), (1, 0)):
            if not np.any(known[node.inputs[zero]][channels] != 0):
                return inputs[other]
    return None
