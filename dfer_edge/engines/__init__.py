"""Engines behind one contract: which exist, why not, which one ``auto`` means.

The table is an ordered list: ``auto`` takes the first that is installed and has the precision. A forced engine or
precision that cannot be met is an error with the reasons; nothing falls back silently.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
from pathlib import Path
from types import ModuleType
from typing import Literal

from dfer_edge.engines.base import Engine, EngineOptions
from dfer_edge.errors import EngineUnavailable, InvalidInput, PrecisionUnavailable, WeightsNotFound
from dfer_edge.inference.base import Form
from dfer_edge.spec import ModelSpec
from dfer_edge.system import board

__all__ = [
    "BEST_FORM",
    "ENGINES",
    "PRECISIONS",
    "Choice",
    "Engine",
    "EngineOptions",
    "best_form",
    "choose",
    "file_precision",
    "load_engine",
    "reasons",
    "runs_on_gpu",
]

_LOG = logging.getLogger("dfer_edge")
_GPU_UNUSED = "; device auto is the CPU, the GPU is left unused: ask for device cuda"


@dataclasses.dataclass(frozen=True)
class _Backend:
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
_BACKENDS = {
    "openvino": _Backend("openvino", "openvino_engine", "OpenVinoEngine", "openvino", "3d"),
    "onnxruntime": _Backend("onnxruntime", "onnxruntime_engine", "OnnxRuntimeEngine", "", "2d"),
    "torch": _Backend("torch", "torch_engine", "TorchEngine", "torch", "2d", ("cpu", "cuda")),
    # Not on a CPU, so `auto` takes it on device cuda only: its first use builds for minutes.
    "tensorrt": _Backend("tensorrt", "tensorrt.engine", "TensorRtEngine", "tensorrt", "2d", ("cuda",)),
    "tensorrt-rtx": _Backend(
        "tensorrt_rtx_bindings", "tensorrt.rtx_engine", "TensorRtRtxEngine", "tensorrt-rtx", "2d", ("cuda",)
    ),
    "onnxruntime-cuda": _Backend(
        "onnxruntime", "onnxruntime_cuda_engine", "OnnxRuntimeCudaEngine", "onnxruntime-gpu", "2d", ("cuda",)
    ),
    "onnxruntime-tensorrt": _Backend(
        "onnxruntime", "onnxruntime_tensorrt_engine", "OnnxRuntimeTensorRtEngine", "onnxruntime-gpu", "2d", ("cuda",)
    ),
}

# By whether it runs on a GPU: what precision `auto` tries.
_PREFERRED = {False: ("bf16", "fp32"), True: ("fp16", "bf16", "fp32")}
# Accuracy without speed: never what `auto` means.
SIMULATED = frozenset({("onnxruntime", "int8")})
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
BEST_FORM: dict[str, Form] = {name: backend.best_form for name, backend in _BACKENDS.items()}


@dataclasses.dataclass(frozen=True)
class Choice:
    """An engine and a precision that this machine has."""

    engine: str
    precision: str


def reasons(engine: str) -> str:
    """Why ``engine`` is not available here; empty means that it is."""
    backend = _BACKENDS[engine]
    if importlib.util.find_spec(backend.package) is None:
        extra = f' (pip install "dfer-edge[{backend.extra}]")' if backend.extra else ""
        return f"{backend.package} is not installed{extra}"
    if "cpu" in backend.devices:
        return ""
    reason: str = backend.load().unavailable()
    return reason


def precision_reasons(engine: str) -> dict[str, str]:
    """Precision -> why an installed ``engine`` does not have it here; empty means that it has."""
    found: dict[str, str] = _BACKENDS[engine].load().precisions()
    return found


def choose(engine: str = "auto", precision: str = "auto", device: str = "auto") -> Choice:
    """The engine and precision that a request means on this machine.

    ``auto`` takes the first installed engine (OpenVINO, ONNX Runtime, torch; for device ``cuda`` torch, TensorRT,
    TensorRT-RTX, ONNX Runtime), and
    bf16 where processor and engine have it, else fp32; on a GPU fp16, which is as fast as bf16 there and keeps more
    bits. Device ``auto`` is the CPU, also where there is a GPU, except
    for TensorRT asked for by name. The choice is logged, with a GPU that it leaves unused.

    Raises
    ------
    InvalidInput
        For names that do not exist.
    EngineUnavailable, PrecisionUnavailable
        With the reasons.
    """
    check_names(engine, precision, device)
    if engine != "auto" and (reason := reasons(engine)):
        raise EngineUnavailable(f"engine {engine} cannot run here: {reason}")
    wanted_device = "cpu" if device == "auto" else device
    candidates = tuple(name for name, backend in _BACKENDS.items() if wanted_device in backend.devices)
    if engine != "auto":
        if device not in ("auto", *_BACKENDS[engine].devices):
            able = ", ".join(candidates)
            raise EngineUnavailable(f"engine {engine} does not run on device {device}: only {able} do")
        candidates = (engine,)
    declined: list[str] = []
    for name in candidates:
        if reason := reasons(name):
            declined.append(f"{name}: {reason}")
            continue
        lacks = precision_reasons(name)
        on_gpu = runs_on_gpu(name, wanted_device)
        wanted = (
            next(p for p in _PREFERRED[on_gpu] if p == "fp32" or not lacks[p]) if precision == "auto" else precision
        )
        if engine == "auto" and (name, wanted) in SIMULATED:
            declined.append(f"{name}: only simulates {wanted} in float; ask for it by name")
        elif not lacks[wanted]:
            if "auto" in (engine, precision):
                unused = (
                    _GPU_UNUSED if device == "auto" and "cpu" in _BACKENDS[name].devices and board.has_gpu() else ""
                )
                _LOG.info("engine %s, precision %s (asked for: %s, %s)%s", name, wanted, engine, precision, unused)
            return Choice(name, wanted)
        else:
            declined.append(f"{name}: {lacks[wanted]}")
    kind = EngineUnavailable if precision == "auto" else PrecisionUnavailable
    raise kind(f"no engine for precision {precision} on device {device}: {'; '.join(declined)}")


def runs_on_gpu(engine: str, device: str) -> bool:
    """Whether an engine, or ``auto``, runs on a GPU when asked for on ``device``."""
    return device == "cuda" or (engine != "auto" and _BACKENDS[engine].devices == ("cuda",))


def best_form(choice: Choice, spec: ModelSpec) -> Form:
    """The form of clip convolutions to give an engine: what was measured on this device, else :data:`BEST_FORM`."""
    if choice.engine == "tensorrt":
        from dfer_edge.engines.tensorrt.forms import remembered

        return remembered(spec, choice.precision) or BEST_FORM["tensorrt"]
    return BEST_FORM[choice.engine]


def check_names(engine: str, precision: str, device: str) -> None:
    """Raises InvalidInput for a name that does not exist."""
    allowed = (("engine", engine, ENGINES), ("precision", precision, PRECISIONS), ("device", device, ("cpu", "cuda")))
    for what, value, names in allowed:
        if value not in (*names, "auto"):
            raise InvalidInput(f"expected {what} auto or one of {', '.join(names)}; got {value!r}")


def load_engine(
    path: str | Path,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    kernels: Literal["auto", "all", "none"] = "auto",
) -> Engine:
    """Load an exported ONNX file.

    Parameters
    ----------
    path
        Written by :func:`dfer_edge.export.export_onnx`.
    backend, precision, device
        See :func:`choose`; precision ``auto`` of a Q/DQ file is int8, and it is not loaded as anything else.
    threads
        CPU threads; the cores this process may use if None.
    kernels
        See :class:`EngineOptions`.

    Returns
    -------
    A context manager with ``infer(dict) -> dict``; see :class:`Engine`.

    Raises
    ------
    InvalidInput, WeightsNotFound, EngineUnavailable, PrecisionUnavailable, CorruptArtifact
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFound(f"expected an ONNX file, found nothing at {path}")
    if threads is not None and not (type(threads) is int and 1 <= threads <= MAX_THREADS):
        raise InvalidInput(f"expected 1 to {MAX_THREADS} threads, got {threads!r}")
    if precision == "auto" and file_precision(path) == "int8":
        precision = "int8"
    choice = choose(backend, precision, device)
    entry = _BACKENDS[choice.engine]
    options = EngineOptions(choice.precision, entry.devices[0] if device == "auto" else device, threads, kernels)
    engine: Engine = getattr(entry.load(), entry.kind)(path, options)
    return engine


def file_precision(path: str | Path) -> str:
    """``int8`` for a file that :func:`dfer_edge.calibration.quantize` wrote, else ``fp32``."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return "fp32"
    return next((entry.value for entry in model.metadata_props if entry.key == "dfer_edge.precision"), "fp32")
