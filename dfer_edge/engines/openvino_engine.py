"""OpenVINO on the CPU: the fast path, bf16 and int8 where the processor has them."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from dfer_edge.engines import placed
from dfer_edge.engines.base import Engine, EngineOptions, Feed, FloatArray
from dfer_edge.engines.external import header, tensor_array
from dfer_edge.errors import CorruptArtifact
from dfer_edge.system import cpu

# Importing OpenVINO reports to its vendor and leaves an identifier in the home folder if this package is found; without
# it OpenVINO takes a stub of its own. Nothing of ours reports anything.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

_SHARE_FROM_BYTES = 256 << 20

# Of a Q/DQ file the hint decides about what stays float between the int8 layers.
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_RUNTIME_KEYS = ("originalLayersNames", "layerType", "runtimePrecision", "outputPrecisions")
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}


@functools.cache
def core() -> openvino.Core:
    """The one core of the process, never destroyed.

    The CPU plugin of each core gives the thread a signal stack, and puts back the one before when it goes. Of two cores
    the older going first leaves the thread with a stack that is unmapped: the next signal with a handler, Ctrl-C
    included, then ends the process (OpenVINO 2026.4).
    """
    return openvino.Core()


def config_of(options: EngineOptions) -> dict[str, Any]:
    """What a network is compiled with."""
    return {
        # Without the hint OpenVINO takes bf16 by itself: fp32 has to be asked for.
        "INFERENCE_PRECISION_HINT": _HINTS[options.precision],
        "INFERENCE_NUM_THREADS": options.thread_count,
        "PERFORMANCE_HINT": "LATENCY",
    }


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    reasons = {p: "" if c in able else f"OpenVINO has no {c} on this processor" for p, c in _CAPABILITIES.items()}
    return reasons | {"int8": "" if cpu.has_int8() else "this processor has no 8-bit dot products (VNNI, AMX, Arm dot)"}


@dataclasses.dataclass(frozen=True)
class RuntimeLayer:
    """One operation of the compiled network.

    Attributes
    ----------
    names
        Nodes of the file that it computes, fused.
    kind
        OpenVINO's layer type, e.g. ``Convolution``.
    precision
        What it computes in, e.g. ``u8``, ``i8``, ``bf16``, ``f32``.
    output
        Precision of what it writes.
    """

    names: tuple[str, ...]
    kind: str
    precision: str
    output: str


class OpenVinoEngine(Engine):
    """Compiles the file for latency in the precision asked for, whole or in pieces around fused kernels."""

    name = "openvino"
    _placed: placed.PlacedNetwork | None = None

    def _load(self) -> dict[str, str]:
        self._compiled = []
        try:
            if found := placed.cut(self.path, self.name, self.options, self._piece):
                self._placed, metadata, self.kernels = found
                return metadata
            model, file = core().read_model(self.path), header(self.path)
            # Kept: the request only points at this memory.
            self._shared = self._large_weights(file)
            _make_inputs(model, set(self._shared))
            compiled = core().compile_model(model, "CPU", config_of(self.options))
            self._compiled, self._request = [compiled], compiled.create_infer_request()
            for name, array in self._shared.items():
                self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        except CorruptArtifact:
            raise
        except Exception as error:  # protobuf and OpenVINO raise bare RuntimeError and their own
            reason = " ".join(str(error).split())[-200:]
            raise CorruptArtifact(f"expected an ONNX file that compiles, got {self.path}: {reason}") from error
        return {entry.key: entry.value for entry in file.metadata_props}

    def _piece(self, model: bytes) -> placed.Run:
        compiled = core().compile_model(core().read_model(model), "CPU", config_of(self.options))
        self._compiled.append(compiled)
        request = compiled.create_infer_request()

        def run(feed: Feed) -> list[Any]:
            request.infer(feed, share_inputs=True)
            return [request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

        return run

    def _large_weights(self, file: onnx.ModelProto) -> dict[str, FloatArray]:
        """Matrices that fp32 would copy in another order, doubling the memory of a network of gigabytes.

        As inputs that share the mapped file they are read where they lie, as fast. bf16 needs its own copy anyway.
        """
        if self.options.precision != "fp32":
            return {}
        tensors = (t for t in file.graph.initializer if len(t.dims) == 2 and t.data_location == TensorProto.EXTERNAL)
        return {t.name: tensor_array(t, self.path.parent) for t in tensors if 4 * math.prod(t.dims) > _SHARE_FROM_BYTES}

    def _infer(self, feed: Feed) -> FloatArray:
        if self._placed is not None:
            return self._placed(feed)
        self._request.infer(feed, share_inputs=True)
        # The request keeps its output buffer: the caller gets a copy.
        return np.array(self._request.get_output_tensor(0).data, np.float32)

    def layers(self) -> list[RuntimeLayer]:
        """What really runs, in order: the proof of int8, and where it falls back to float."""
        layers = []
        for node in (node for piece in self._compiled for node in piece.get_runtime_model().get_ordered_ops()):
            entries = {key: value.astype(str) for key, value in node.get_rt_info().items() if key in _RUNTIME_KEYS}
            names, kind, precision, output = (entries.get(key, "") for key in _RUNTIME_KEYS)
            layers.append(RuntimeLayer(tuple(names.split(",")), kind, precision, output))
        return layers

    def _close(self) -> None:
        self._request = self._placed = None
        self._compiled = []
        self._shared = {}


def _make_inputs(model: openvino.Model, names: set[str]) -> None:
    """Turn the named constants of a model into inputs."""
    from openvino import opset13

    for constant in [op for op in model.get_ops() if op.get_friendly_name() in names]:
        port = opset13.parameter(constant.get_output_shape(0), constant.get_element_type())
        port.output(0).set_names({constant.get_friendly_name()})
        for target in constant.output(0).get_target_inputs():
            target.replace_source_output(port.output(0))
        model.add_parameters([port])
