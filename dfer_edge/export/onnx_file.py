"""Export: a network and its weights to ONNX, simplified, in the conv form that an engine runs best. Needs no torch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dfer_edge._version import __version__
from dfer_edge.confidence import NOTE
from dfer_edge.errors import DferError, InvalidInput, PrecisionUnavailable
from dfer_edge.inference import FORMS, Form, Part, dead_channels, record, registry
from dfer_edge.inference.folding import Array
from dfer_edge.inference.onnx_writer import require_shapes, write_onnx
from dfer_edge.inference.parts import PARTS, output_name
from dfer_edge.inference.random_weights import RandomWeights
from dfer_edge.inference.symbolic import SymbolicGraph
from dfer_edge.weights import file as weights_files
from dfer_edge.weights.file import Weights

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.calibration.qdq import Scheme

# A protobuf cannot pass 2 GB; well below it, engines load mapped weights with less memory.
EXTERNAL_FROM_BYTES = 1 << 30


def export_onnx(
    name_or_module: str | nn.Module,
    path: str | Path,
    weights: str | Path = "default",
    batch: str | int = "dynamic",
    form: Form = "3d",
    part: Part = "whole",
) -> Path:
    """Write the exact inference form as ONNX, with the preprocessing spec and labels in the metadata.

    Parameters
    ----------
    name_or_module
        A model name, or a network in training form (then ``weights`` is not read).
    path
        Ends in ``.onnx``; networks over 1 GiB keep their weights in ``path`` + ``.data``.
    weights
        ``"default"``, ``"random"`` or a weights file.
    batch
        ``"dynamic"``, or a fixed size.
    form
        ``"3d"``, ``"2d"`` or ``"shifted"``, equal to rounding; ``dfer_edge.engines.BEST_FORM`` has each engine's best.
    part
        ``"whole"``, or ``"features"`` and ``"head"``: the two files that
        :class:`dfer_edge.flow.streaming.StreamingState` runs. Features are those of one step, see
        :mod:`dfer_edge.inference.parts`.

    Returns
    -------
    The path written. Opset 17. Inputs ``clip`` [B, 3, T, H, W] or ``image`` [B, 3, H, W], and ``landmarks``
    [B, T, 68, 2] where the network takes them, float32; output ``logits`` [B, K]. Of the features part T is one step,
    its output ``features`` [B, 1, ...]; the head has the input ``features`` [B, steps, ...].

    Raises
    ------
    DferError
        If it cannot be written; what was there stays.
    InvalidInput, WeightsNotFound, CorruptArtifact
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise InvalidInput(f"expected a path that ends in .onnx, got {path.name!r}")
    if form not in FORMS:
        raise InvalidInput(f"expected a form out of {', '.join(FORMS)}; got {form!r}")
    if not path.parent.is_dir():
        raise InvalidInput(f"expected a folder to write into, found none at {path.parent}")
    if part not in PARTS:
        raise InvalidInput(f"expected a part out of {', '.join(PARTS)}; got {part!r}")
    if batch != "dynamic" and not (type(batch) is int and batch > 0):
        raise InvalidInput(f'expected batch "dynamic" or a positive number, got {batch!r}')
    source = (
        weights_files.resolve(name_or_module, weights) if isinstance(name_or_module, str) else of_module(name_or_module)
    )
    publish(path, lambda scratch: write(source, scratch, form, batch, part=part))
    return path


def publish(path: Path, fill: Callable[[Path], None]) -> None:
    """A model and the file of its tensors, both whole; the model last, which knows the other's hash."""
    # One name for every process: what a killed one left goes with the next export.
    scratch = path.with_name(f".{os.fsdecode(os.fsencode(path.stem)[:200])}.partial")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        fill(scratch / path.name)
        for file in sorted(scratch.iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.with_name(file.name))
    except OSError as error:
        raise DferError(f"cannot write {path}: {error.strerror or error}", "is there room on the disk?") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def export_int8(
    name_or_module: str | nn.Module,
    path: str | Path,
    weights: str | Path = "default",
    batch: str | int = "dynamic",
    form: Form = "3d",
    part: Part = "whole",
    ranges: str | Path | None = None,
    scheme: Scheme = "symmetric",
    pad_to: int | None = None,
) -> Path:
    """As :func:`export_onnx`, quantised to int8 with Q/DQ pairs; weights are inside the file.

    Parameters
    ----------
    name_or_module, path, weights, batch, form, part
        As of :func:`export_onnx`.
    ranges
        Written by ``dfer-edge calibrate``; those beside the weights if None.
    scheme
        ``symmetric`` for TensorRT and for exchange, ``unsigned`` for OpenVINO on a CPU.
    pad_to
        Round channels between two convolutions up to a multiple of this; 32 for TensorRT.

    Raises
    ------
    PrecisionUnavailable
        If there are no ranges.
    CalibrationError
        If they belong to other weights.
    InvalidInput, WeightsNotFound, CorruptArtifact
    """
    from dfer_edge.calibration import quantize

    path = Path(path)
    if path.suffix != ".onnx" or not path.parent.is_dir():
        raise InvalidInput(f"expected a path that ends in .onnx in a folder that exists, got {path}")
    if ranges is None and isinstance(name_or_module, str):
        ranges = weights_files.ranges_beside(name_or_module, weights)
    if ranges is None:
        raise PrecisionUnavailable("int8 needs ranges, and there are none beside the weights", "dfer-edge calibrate")
    with tempfile.TemporaryDirectory() as folder:
        exact = export_onnx(name_or_module, Path(folder) / "fp32.onnx", weights, batch, form, part)
        return quantize(exact, ranges, path, scheme, pad_to)


def of_module(module: nn.Module) -> Weights:
    """The weights of a training-form network in memory."""
    from dfer_edge.models.simplified import spec_of, state_arrays

    state = state_arrays(module)
    return Weights("module", weights_files.content_hash(state), spec_of(module), state)


def write(
    source: Weights,
    path: Path,
    form: Form,
    batch: str | int = "dynamic",
    external: bool | None = None,
    part: Part = "whole",
) -> None:
    """Write ``source`` or a part of it in ``form``, without dead channels; ``external`` None decides by size."""
    graph, inputs, output = record(source.spec, form, part)
    if external is None:
        external = graph.parameters * 4 >= EXTERNAL_FROM_BYTES
    axis = "batch" if batch == "dynamic" else batch
    weights, notes = inference_weights(source, graph), metadata(source, form, part) | {"dfer_edge.batch": str(batch)}
    if source.state is not None:
        require_shapes(graph, weights)
        trimmed = dead_channels.leave_out(graph, output, weights)
        graph, output, weights = trimmed.graph, trimmed.output, trimmed.weights
        notes |= {dead_channels.NOTE: trimmed.note} if trimmed.note else {}
    write_onnx(path, graph, inputs, output, weights, notes, axis, external, output_name(part))


def inference_weights(source: Weights, graph: SymbolicGraph) -> Mapping[str, Array]:
    """Folded weights by name, or random ones drawn for the recording."""
    if source.state is None:
        return RandomWeights(graph)
    folded: dict[str, Array] = registry.find(source.spec.name).inference().fold(source.state, source.spec)
    return folded


def metadata(source: Weights, form: Form, part: Part = "whole") -> dict[str, str]:
    """What travels inside the ONNX file."""
    more = {f"dfer_edge.{NOTE}": source.notes[NOTE]} if NOTE in source.notes else {}
    return {
        "dfer_edge.model": source.spec.name,
        "dfer_edge.spec": source.spec.to_json(),
        "dfer_edge.weights": source.name,
        "dfer_edge.weights_sha256": source.sha256,
        "dfer_edge.weights_compact": source.compact,
        "dfer_edge.form": form,
        "dfer_edge.part": part,
        "dfer_edge.simplifications": registry.find(source.spec.name).simplifications,
        "dfer_edge.version": __version__,
        **more,
    }
