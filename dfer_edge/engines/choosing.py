"""Which engine and precision a request means on this machine; ``auto`` takes the first of the table that can."""

from __future__ import annotations

import dataclasses
import logging

from dfer_edge.engines.registry import BEST_FORM, ENGINES, PRECISIONS, TABLE, precision_reasons, reasons, runs_on_gpu
from dfer_edge.errors import EngineUnavailable, InvalidInput, PrecisionUnavailable
from dfer_edge.inference.base import Form
from dfer_edge.spec import ModelSpec
from dfer_edge.system import board

_LOG = logging.getLogger("dfer_edge")
_GPU_UNUSED = "; device auto is the CPU, the GPU is left unused: ask for device cuda"
# By whether it runs on a GPU: what precision `auto` tries.
_PREFERRED = {False: ("bf16", "fp32"), True: ("fp16", "bf16", "fp32")}
# Accuracy without speed: never what `auto` means.
SIMULATED = frozenset({("onnxruntime", "int8")})


@dataclasses.dataclass(frozen=True)
class Choice:
    """An engine and a precision that this machine has."""

    engine: str
    precision: str


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
    candidates = tuple(name for name, backend in TABLE.items() if wanted_device in backend.devices)
    if engine != "auto":
        if device not in ("auto", *TABLE[engine].devices):
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
                unused = _GPU_UNUSED if device == "auto" and "cpu" in TABLE[name].devices and board.has_gpu() else ""
                _LOG.info("engine %s, precision %s (asked for: %s, %s)%s", name, wanted, engine, precision, unused)
            return Choice(name, wanted)
        else:
            declined.append(f"{name}: {lacks[wanted]}")
    kind = EngineUnavailable if precision == "auto" else PrecisionUnavailable
    raise kind(f"no engine for precision {precision} on device {device}: {'; '.join(declined)}")


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
