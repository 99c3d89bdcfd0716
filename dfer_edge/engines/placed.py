"""A file cut at its fused kernels: sessions of an engine on a CPU take turns with C++ (:mod:`dfer_edge.kernels`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from dfer_edge.engines import base
from dfer_edge.engines.base import EngineOptions, Feed, FloatArray, part_of
from dfer_edge.engines.external import check_weights, header, inside, tensor_array
from dfer_edge.errors import CorruptArtifact
from dfer_edge.inference import record
from dfer_edge.inference.base import FORMS
from dfer_edge.inference.kernel_places import NUMPY_KERNELS, place_of, weight_names
from dfer_edge.inference.symbolic import Place
from dfer_edge.kernels.dispatch import use_threads
from dfer_edge.spec import ModelSpec

Run = Callable[[Feed], Sequence[Any]]
"""One session: inputs by name -> outputs in the order that the model declares them."""


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Nodes up to a kernel, which then reads ``place.inputs``; the last has none."""

    run: Run | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    place: Place | None
    weights: Mapping[str, FloatArray]


class PlacedNetwork:
    """Runs the pieces of a file and the kernels between them.

    Parameters
    ----------
    model
        The file without external weights; fp32.
    folder
        Of its external weights; those that a piece reads are in memory with it.
    places
        Of the kernels, in order of execution.
    load
        Makes a session of a serialised model.
    threads
        Of the kernels.
    """

    def __init__(
        self, model: onnx.ModelProto, folder: Path, places: Sequence[Place], load: Callable[[bytes], Run], threads: int
    ) -> None:
        self._threads, self._output = threads, model.graph.output[0].name
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        shapes: dict[str, Sequence[int | str]] = {value.name: _dimensions(value) for value in model.graph.input}
        self._cuts: list[_Cut] = []
        for place in (*places, None):
            outputs = [value.name for value in place.inputs] if place else [self._output]
            wanted = tuple(dict.fromkeys(name for name in outputs if name not in shapes))
            piece, inputs = piece_of(model, wanted, shapes, folder) if wanted else (None, ())
            run = load(piece.SerializeToString()) if piece else None
            names = weight_names(place.kernel, place.weights, place.options) if place else ()
            if missing := [name for name in names if name not in tensors]:
                raise CorruptArtifact(f"expected the weights of {names[0]} and beside it, {missing[0]} is missing")
            weights = {name: np.ascontiguousarray(tensor_array(tensors[name], folder)) for name in names}
            self._cuts.append(_Cut(run, inputs, wanted, place, weights))
            if place:
                shapes[place.output.name] = place.output.shape

    def __call__(self, feed: Feed) -> FloatArray:
        """The network's one output, an array of the caller's own."""
        values: dict[str, Any] = dict(feed)
        for cut in self._cuts:
            if cut.run is not None:
                found = cut.run({name: values[name] for name in cut.inputs})
                values |= dict(zip(cut.outputs, found, strict=True))
            if (place := cut.place) is not None:
                arrays = [np.ascontiguousarray(values[value.name], np.float32) for value in place.inputs]
                with use_threads(self._threads):
                    values[place.output.name] = NUMPY_KERNELS[place.kernel](cut.weights, *arrays, **place.options)
        # Sessions keep their output buffers.
        return np.array(values[self._output], np.float32)


def cut(
    path: Path, engine: str, options: EngineOptions, load: Callable[[bytes], Run]
) -> tuple[PlacedNetwork, dict[str, str], tuple[str, ...]] | None:
    """The file in pieces, its metadata and the names of its kernels; None where the engine runs it whole.

    It is cut if all kernels are asked for, or where that was measured to be faster; int8 files are not.

    Raises
    ------
    CorruptArtifact
        If the file does not load, or is not what its metadata say.
    """
    # What no network is cut for is not worth reading the file.
    if options.precision == "int8" or options.kernels == "none" or (options.kernels == "auto" and not base.FASTER):
        return None
    try:
        model = header(path)
    except (DecodeError, OSError, ValueError) as error:
        raise CorruptArtifact(f"expected an ONNX file that loads, got {path}: {error}") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    places = _places(metadata, engine, options)
    if not places:
        return None
    check_weights(path, metadata)
    names = tuple(dict.fromkeys(place.kernel for place in places))
    return PlacedNetwork(model, path.parent, places, load, options.thread_count), metadata, names


def _places(metadata: Mapping[str, str], engine: str, options: EngineOptions) -> Sequence[Place]:
    form = next((form for form in FORMS if form == metadata.get("dfer_edge.form")), None)
    if form is None or "dfer_edge.spec" not in metadata or metadata.get("dfer_edge.precision", "fp32") != "fp32":
        return ()
    spec, part = ModelSpec.from_json(metadata["dfer_edge.spec"]), part_of(metadata)
    wanted = options.runs_kernel(spec.name, engine)
    return record(spec, form, part)[0].places if wanted and place_of(spec, part) else ()


def piece_of(
    model: onnx.ModelProto,
    wanted: Sequence[str],
    shapes: Mapping[str, Sequence[int | str]],
    folder: Path,
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """What computes the values ``wanted`` from those in ``shapes``, -1 for an open axis; and its inputs.

    ``model`` comes without its external weights, of ``folder``; the piece has those that it reads inside.
    """
    needed, nodes = set(wanted), []
    for node in reversed(model.graph.node):
        if any(name in needed and name not in shapes for name in node.output):
            nodes.append(node)
            needed.update(node.input)
    if missing := set(wanted) - {name for node in nodes for name in node.output}:
        raise CorruptArtifact(f"expected a file with the values of its recording, {min(missing)} is missing")
    inputs = tuple(name for name in shapes if name in needed)
    graph = helper.make_graph(
        nodes[::-1],
        model.graph.name,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, _open(name, shapes[name])) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted],
        [inside(tensor, folder) for tensor in model.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version), inputs


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _open(name: str, shape: Sequence[int | str]) -> list[int | str]:
    """The axis that is open has a name of its own: rows of frames are not rows of clips."""
    return [f"{name}_rows" if axis == -1 else axis for axis in shape]
