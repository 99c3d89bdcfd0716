"""Graph surgery: a float network and its ranges to an explicit Q/DQ network.

Two schemes from the same ranges. ``symmetric``: int8 with zero point 0 everywhere, what TensorRT reads and every other
engine understands. ``unsigned``: tensors that are never negative use 0..255 instead, one bit finer and what x86's int8
products take without a correction; TensorRT does not read it. OpenVINO runs it 5 to 7 % faster on a CPU with VNNI.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.padding import pad_channels
from dfer_edge.calibration.placement import Placement, plan
from dfer_edge.calibration.table import Range, RangeTable
from dfer_edge.engines.external import inside, tensor_array
from dfer_edge.errors import CalibrationError
from dfer_edge.inference.dead_channels import NOTE
from dfer_edge.inference.onnx_writer import DATA_SHA256
from dfer_edge.inference.parts import LOGITS

Scheme = Literal["symmetric", "unsigned"]
SCHEMES: tuple[Scheme, ...] = ("symmetric", "unsigned")

# A channel that is always zero has no scale of its own; engines refuse zero and denormals slow them down.
SCALE_FLOOR = 2.0**-40


def quantize(
    onnx_path: str | Path,
    table: RangeTable | str | Path,
    out: str | Path,
    scheme: Scheme = "symmetric",
    pad_to: int | None = None,
) -> Path:
    """Write the Q/DQ form of a network; the same inputs give the same bytes.

    Parameters
    ----------
    onnx_path
        A float network, any conv form or part, of the weights that the ranges belong to.
    table
        From :func:`dfer_edge.calibration.calibrate`, or its file.
    out
        Path ending in ``.onnx``. Weights are int8 inside the file, per output channel.
    scheme
        ``symmetric`` for TensorRT and for exchange, ``unsigned`` for OpenVINO on a CPU.
    pad_to
        Round channels between two convolutions up to a multiple of this with zeros, exactly; 32 fills the int8 tensor
        cores. None leaves them.

    Returns
    -------
    The path written. Metadata say ``dfer_edge.precision`` int8, the scheme, the ranges' hash and each layer's kind.

    Raises
    ------
    CalibrationError
        For ranges of another network, ranges that a layer lacks, or a file that cannot be written.
    InvalidInput, WeightsNotFound, CorruptArtifact
    """
    if scheme not in SCHEMES:
        raise CalibrationError(f"expected a scheme out of {', '.join(SCHEMES)}; got {scheme!r}")
    out, source = Path(out), Path(onnx_path)
    if out.suffix != ".onnx" or out.resolve() == source.resolve():
        raise CalibrationError(f"expected another path that ends in .onnx, got {out}")
    table = table if isinstance(table, RangeTable) else RangeTable.load(table)
    model = read(source)
    table.require(GraphIndex(model, source).identity(), source)
    if pad_to is not None:
        pad_channels(model, pad_to, source.parent)
    index = GraphIndex(model, source)
    placement = plan(index, _excluded(index, table))
    _Surgeon(index, placement, table, scheme, source.parent).run()
    if table.logit_shift:
        _shift_logits(model, table.logit_shift)
    _note(model, placement, table, scheme)
    _save(model, out)
    return out


def _excluded(index: GraphIndex, table: RangeTable) -> Sequence[str]:
    """The table's exclusions; of a part of a network, or one without its dead channels, those that lie in it."""
    notes = index.metadata()
    if notes.get("dfer_edge.part", "whole") == "whole" and NOTE not in notes:
        return table.exclude
    return [name for name in table.exclude if name in index.constants]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Step and zero point of one tensor."""

    step: float
    unsigned: bool


def scales(placement: Placement, ranges: Mapping[str, Range], scheme: Scheme) -> dict[str, Scale]:
    """Scale of each tensor that gets one; tensors that meet in a concatenation or a layer share theirs.

    Raises
    ------
    CalibrationError
        If the table lacks a range.
    """
    groups: list[tuple[set[str], list[Range]]] = []
    for place, origins in placement.places().items():
        if place not in ranges:
            raise CalibrationError(f"expected a range for {place}, the table has none", "dfer-edge calibrate")
        merged, found = set(origins), [ranges[place]]
        for group in [group for group in groups if group[0] & merged]:
            groups.remove(group)
            merged, found = merged | group[0], found + group[1]
        groups.append((merged, found))
    return {origin: _scale(found, scheme) for origins, found in groups for origin in origins}


def _scale(found: list[Range], scheme: Scheme) -> Scale:
    unsigned = scheme == "unsigned" and all(entry.low >= 0 for entry in found)
    step = max(entry.threshold for entry in found) / (255 if unsigned else 127)
    return Scale(max(step, SCALE_FLOOR), unsigned)


def quantize_weight(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """int8 values in -127..127 and a scale per output channel (axis 0); the largest weight of each is kept."""
    values = np.empty(weight.shape, np.int8)
    steps = np.empty(len(weight), np.float32)
    # Row by row: the weights of a gigabyte are mapped, and stay so.
    for row, channel in enumerate(weight):
        step = max(float(np.abs(channel).max()) / 127, SCALE_FLOOR)
        values[row], steps[row] = np.clip(np.rint(channel / np.float32(step)), -127, 127), step
    return values, steps


class _Surgeon:
    def __init__(
        self, index: GraphIndex, placement: Placement, table: RangeTable, scheme: Scheme, folder: Path
    ) -> None:
        self._index, self._placement, self._folder = index, placement, folder
        self._scales = scales(placement, table.ranges, scheme)
        self._added: list[onnx.TensorProto] = []
        self._quantised: dict[str, list[onnx.NodeProto]] = {}
        self._weights: list[onnx.NodeProto] = []

    def run(self) -> None:
        """Rewrite the model in place."""
        kinds = {layer.name: layer.kind for layer in self._placement.layers if layer.kind != "float"}
        for name in kinds:
            self._quantise_weight(name)
        for layer in self._placement.layers:
            if layer.kind == "int8":
                self._read_quantised(self._index.producers[layer.node], 0)
        for residual in self._placement.residuals:
            self._read_quantised(self._index.producers[residual.node], residual.operand)
        self._rebuild(kinds)

    def _read_quantised(self, node: onnx.NodeProto, operand: int) -> None:
        """Let ``node`` read its operand from a Q/DQ pair, which stands before whatever moves the values.

        But after what moves the network's own input: OpenVINO 2026.4 computes other values where signed bytes are
        transposed before the first convolution, and the input comes in float32 anyway.
        """
        name = node.input[operand]
        origins = self._index.origins(name)
        if all(origin in self._index.inputs for origin in origins):
            self._scales[name] = self._scales[origins[0]]
        if name in self._scales:
            node.input[operand] = self._pair(name)
            return
        mover = self._index.producers[name]
        moved = range(len(mover.input)) if mover.op_type == "Concat" else range(1)
        for position in moved:
            if not mover.input[position].endswith(_DEQUANTISED):
                self._read_quantised(mover, position)

    def _pair(self, tensor: str) -> str:
        if tensor not in self._quantised:
            scale = self._scales[tensor]
            zero = np.zeros((), np.uint8 if scale.unsigned else np.int8)
            step, point, values, back = (f"{tensor}{end}" for end in (_STEP, _ZERO, _QUANTISED, _DEQUANTISED))
            self._add(step, np.asarray(scale.step, np.float32))
            self._add(point, zero)
            self._quantised[tensor] = [
                helper.make_node("QuantizeLinear", [tensor, step, point], [values], name=values),
                helper.make_node("DequantizeLinear", [values, step, point], [back], name=back),
            ]
        return f"{tensor}{_DEQUANTISED}"

    def _quantise_weight(self, name: str) -> None:
        values, steps = quantize_weight(tensor_array(self._index.constants[name], self._folder))
        inputs = [f"{name}{end}" for end in (_QUANTISED, _STEP, _ZERO)]
        arrays: tuple[npt.NDArray[Any], ...] = (values, steps, np.zeros(len(steps), np.int8))
        for key, array in zip(inputs, arrays, strict=True):
            self._add(key, array)
        back = f"{name}{_DEQUANTISED}"
        self._weights.append(helper.make_node("DequantizeLinear", inputs, [back], name=back, axis=0))
        for node in self._index.consumers[name]:
            for position, read_name in enumerate(node.input):
                if read_name == name:
                    node.input[position] = back

    def _add(self, name: str, array: npt.NDArray[Any]) -> None:
        self._added.append(numpy_helper.from_array(np.asarray(array), name))

    def _rebuild(self, dropped: Mapping[str, str]) -> None:
        graph = self._index.model.graph
        nodes = list(self._weights)
        for name in self._index.inputs:
            nodes += self._quantised.get(name, [])
        for node in graph.node:
            nodes.append(node)
            nodes += [pair for name in node.output for pair in self._quantised.get(name, [])]
        ordered = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        kept = [tensor for tensor in graph.initializer if tensor.name not in dropped]
        weights = [inside(tensor, self._folder) for tensor in kept]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(ordered)
        graph.initializer.extend([*weights, *self._added])


_QUANTISED, _DEQUANTISED, _STEP, _ZERO = "/quantised", "/dequantised", "/scale", "/zero_point"


def _shift_logits(model: onnx.ModelProto, shift: Sequence[float]) -> None:
    """Take the mean error out of the bias of the classifier; a part of a network that has none stays as it is.

    So does one whose logits come out as features of steps: what the whole network does with them follows no classifier.
    """
    index = GraphIndex(model)
    output = model.graph.output[0].name
    maker = index.maker(output) if output == LOGITS else None
    if maker is None or maker.op_type != "Gemm" or len(maker.input) < 3 or maker.input[2] not in index.constants:
        return
    bias = index.constants[maker.input[2]]
    values = numpy_helper.to_array(bias)
    if values.shape != (len(shift),):
        return
    bias.CopyFrom(numpy_helper.from_array((values - np.asarray(shift)).astype(np.float32), bias.name))


def _note(model: onnx.ModelProto, placement: Placement, table: RangeTable, scheme: Scheme) -> None:
    kinds = {layer.name: layer.kind for layer in placement.layers}
    added = {
        "dfer_edge.precision": "int8",
        "dfer_edge.scheme": scheme,
        "dfer_edge.ranges_sha256": table.scales_sha256,
        "dfer_edge.layers": json.dumps(kinds, sort_keys=True),
    }
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != DATA_SHA256}
    helper.set_model_props(model, kept | added)


def _save(model: onnx.ModelProto, out: Path) -> None:
    scratch = out.with_name(f".{out.name}.part")
    try:
        scratch.write_bytes(model.SerializeToString(deterministic=True))
        scratch.replace(out)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise CalibrationError(f"cannot write {out}: {error}", "choose a folder that exists and has room") from error
