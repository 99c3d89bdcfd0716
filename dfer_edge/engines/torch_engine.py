"""Torch, 2-D form, channels-last: eager on the CPU, fused and in CUDA graphs on a device (not yet run on one)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError

from dfer_edge.engines.base import Engine, Feed, FloatArray, Kept, part_of
from dfer_edge.engines.external import header, tensor_array
from dfer_edge.engines.torch_capture import CapturedNetwork
from dfer_edge.errors import CorruptArtifact, EngineUnavailable
from dfer_edge.inference import Part, dead_channels, pixels, record
from dfer_edge.inference.kernel_places import place_of
from dfer_edge.inference.parts import FEATURES, input_shapes
from dfer_edge.inference.torch_pixels import Normalise
from dfer_edge.inference.torch_winograd import WINOGRAD, fits
from dfer_edge.models.simplified import Simplified
from dfer_edge.spec import ModelSpec
from dfer_edge.system import cpu

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    cuda = torch.cuda.is_available()
    # Emulated, as before sm_80, it is slower than fp32.
    bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "fp32": "",
        "bf16": "" if bf16 or cpu.has_bf16() else "neither this processor nor its GPU, if any, has bf16 products",
        "fp16": "" if cuda else "torch has no fast fp16 convolutions on CPU, and there is no CUDA device",
        "int8": "torch runs no Q/DQ files; openvino does",
    }


class TorchEngine(Engine):
    """Rebuilds the inference form from the file's weights; needs a file in form ``3d`` or ``2d``."""

    name = "torch"
    keeps_on_device = True

    def _load(self) -> dict[str, str]:
        if self.options.device == "cuda" and not torch.cuda.is_available():
            raise EngineUnavailable("device cuda was asked for, torch sees no CUDA device")
        try:
            model = header(self.path)
            metadata = {entry.key: entry.value for entry in model.metadata_props}
            if "dfer_edge.spec" in metadata:
                spec, part = ModelSpec.from_json(metadata["dfer_edge.spec"]), part_of(metadata)
                self._network = self._rebuild(model, spec, part, metadata.get(dead_channels.NOTE, "{}"))
                self._names = tuple(input_shapes(spec, part))
                read = pixels.pixel_input(input_shapes(spec, part)) if pixels.are_taken(metadata) else ""
                self._normalise = {read: Normalise(spec, self.options.device)} if read else {}
                self._captured = CapturedNetwork(self._run, self.options.device)
        except CorruptArtifact:
            raise
        except (DecodeError, OSError, ValueError) as error:
            raise CorruptArtifact(f"expected an ONNX file that loads, got {self.path}: {error}") from error
        return metadata

    def _rebuild(self, model: onnx.ModelProto, spec: ModelSpec, part: Part, channels: str) -> Simplified:
        infos = record(spec, "2d", part)[0].weights
        found = {t.name: tensor_array(t, self.path.parent) for t in model.graph.initializer if t.name in infos}
        shapes = {name: info.shape for name, info in infos.items()}
        whole = dead_channels.put_back(found, channels, shapes)
        weights = {name: self._place(array.reshape(shapes[name])) for name, array in whole.items()}
        if missing := sorted(set(infos) - set(weights)):
            raise CorruptArtifact(f"expected the weights of {spec.name} in {self.path}, {missing[0]} is missing")
        self.kernels = self._kernels_of(spec, part)
        if self._takes_winograd(weights):
            self.kernels += (WINOGRAD,)
        return Simplified(spec, weights, "2d", part, frozenset(self.kernels))

    def _kernels_of(self, spec: ModelSpec, part: Part) -> tuple[str, ...]:
        kernel = place_of(spec, part)
        return (kernel,) if kernel and self.options.runs_kernel(spec.name, self.name) else ()

    def _takes_winograd(self, weights: dict[str, torch.Tensor]) -> bool:
        """Every layer that fits was measured faster (bench/studies/kernel_places.py). Fewer bits would not bear it."""
        options = self.options
        able = options.kernels != "none" and (options.device, options.precision) == ("cpu", "fp32")
        return able and any(fits(value.shape) for value in weights.values())

    def _place(self, array: FloatArray) -> torch.Tensor:
        # No copy for fp32 on the CPU: mapped weights stay mapped.
        value = torch.from_numpy(array).to(self.options.device, _DTYPES[self.options.precision])
        # Channels-last once here, or torch reorders every weight at every call. Clip weights hold a unit axis.
        unit = next((axis for axis in (2, 4) if value.ndim == 5 and value.shape[axis] == 1), None)
        if unit is not None:
            return value.squeeze(unit).contiguous(memory_format=torch.channels_last).unsqueeze(unit)
        return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

    def _infer(self, feed: Feed) -> FloatArray:
        return self._on_host(self._compute({name: torch.from_numpy(value) for name, value in feed.items()}))

    def _keep(self, feed: Feed) -> list[Kept]:
        rows = self._compute({name: torch.from_numpy(value) for name, value in feed.items()})[:, 0]
        # A copy each: the next call overwrites the output, and a row that is kept must not keep the others.
        return [Kept(self, row.clone()) for row in rows]

    def _infer_kept(self, windows: Sequence[Sequence[Kept]]) -> FloatArray:
        stacked = torch.stack([torch.stack([kept.value for kept in window]) for window in windows])
        return self._on_host(self._compute({FEATURES: stacked}))

    def _compute(self, feed: dict[str, torch.Tensor]) -> torch.Tensor:
        # The caller's own torch code has a number of threads too.
        before = torch.get_num_threads()
        torch.set_num_threads(self.options.thread_count)
        try:
            with torch.no_grad():
                return self._captured(feed) if self.options.device == "cuda" else self._run(*feed.values())
        finally:
            torch.set_num_threads(before)

    @staticmethod
    def _on_host(output: torch.Tensor) -> FloatArray:
        return np.array(output.float().cpu().numpy(), np.float32)

    def _run(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The network on tensors as a caller gives them, on the engine's device."""
        output: torch.Tensor = self._network(*(self._input(*pair) for pair in zip(self._names, inputs, strict=True)))
        return output

    def _lost_by_fork(self) -> str:
        # One thread runs without OpenMP's pool; more would wait for threads that the child does not have.
        many = self.options.thread_count > 1
        return super()._lost_by_fork() or ("torch's threads do not survive a fork" if many else "")

    def _input(self, name: str, value: torch.Tensor) -> torch.Tensor:
        if name in self._normalise:
            value = self._normalise[name](value)
        tensor = value.to(_DTYPES[self.options.precision])
        if name == FEATURES and tensor.ndim == 5:
            # Maps of a window, [B, T, C, H, W]. As for weights: or every residual addition of the head reorders.
            maps = tensor.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            return maps.reshape(tensor.shape)
        return tensor

    def _close(self) -> None:
        self._network = self._captured = None  # type: ignore[assignment]
