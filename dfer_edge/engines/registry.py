"""The table of engines: name -> where its code is, what it needs and where it runs; and why one is not available here.

A new engine is a file of this folder, a row of :data:`TABLE`, and its name in :data:`EngineName` and :data:`ENGINES`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from types import ModuleType
from typing import Literal

from dfer_edge.inference.base import Form


@dataclasses.dataclass(frozen=True)
class Entry:
    """One engine.

    Attributes
    ----------
    package
        What must be installed, as it is imported.
    module, kind
        File below :mod:`dfer_edge.engines` and its subclass of :class:`~dfer_edge.engines.base.Engine`; the file has
        ``precisions()`` too and, where it does not run on a CPU, ``unavailable()``.
    extra
        The extra of ``pip install`` that brings the package; empty if none is needed.
    best_form
        Of clip convolutions, as measured.
    devices
        Where it runs; the first is what device ``auto`` means.
    """

    package: str
    module: str
    kind: str
    extra: str
    best_form: Form
    devices: tuple[str, ...] = ("cpu",)

    def load(self) -> ModuleType:
        return importlib.import_module(f"dfer_edge.engines.{self.module}")


# In the order of preference of `auto` on a CPU, by measurement (bench/results): OpenVINO is fastest in both fp32 and
# bf16; ONNX Runtime before torch because inference should not import torch.
TABLE = {
    "openvino": Entry("openvino", "openvino_engine", "OpenVinoEngine", "openvino", "3d"),
    "onnxruntime": Entry("onnxruntime", "onnxruntime_engine", "OnnxRuntimeEngine", "", "2d"),
    "torch": Entry("torch", "torch_engine", "TorchEngine", "torch", "2d", ("cpu", "cuda")),
    # Not on a CPU, so `auto` takes it on device cuda only: its first use builds for minutes.
    "tensorrt": Entry("tensorrt", "tensorrt.engine", "TensorRtEngine", "tensorrt", "2d", ("cuda",)),
    "tensorrt-rtx": Entry(
        "tensorrt_rtx_bindings", "tensorrt.rtx_engine", "TensorRtRtxEngine", "tensorrt-rtx", "2d", ("cuda",)
    ),
    "onnxruntime-cuda": Entry(
        "onnxruntime", "onnxruntime_cuda_engine", "OnnxRuntimeCudaEngine", "onnxruntime-gpu", "2d", ("cuda",)
    ),
    "onnxruntime-tensorrt": Entry(
        "onnxruntime", "onnxruntime_tensorrt_engine", "OnnxRuntimeTensorRtEngine", "onnxruntime-gpu", "2d", ("cuda",)
    ),
}

EngineName = Literal[
    "auto",
    "openvino",
    "onnxruntime",
    "torch",
    "tensorrt",
    "tensorrt-rtx",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16", "int8"]
DeviceName = Literal["auto", "cpu", "cuda"]
ENGINES = (
    "torch",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
)
# More than any processor has cores for: a typing error, which would exhaust the system.
MAX_THREADS = 256
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
BEST_FORM: dict[str, Form] = {name: backend.best_form for name, backend in TABLE.items()}


def reasons(engine: str) -> str:
    """Why ``engine`` is not available here; empty means that it is."""
    backend = TABLE[engine]
    if importlib.util.find_spec(backend.package) is None:
        extra = f' (pip install "dfer-edge[{backend.extra}]")' if backend.extra else ""
        return f"{backend.package} is not installed{extra}"
    if "cpu" in backend.devices:
        return ""
    reason: str = backend.load().unavailable()
    return reason


def precision_reasons(engine: str) -> dict[str, str]:
    """Precision -> why an installed ``engine`` does not have it here; empty means that it has."""
    found: dict[str, str] = TABLE[engine].load().precisions()
    return found


def runs_on_gpu(engine: str, device: str) -> bool:
    """Whether an engine, or ``auto``, runs on a GPU when asked for on ``device``."""
    return device == "cuda" or (engine != "auto" and TABLE[engine].devices == ("cuda",))
