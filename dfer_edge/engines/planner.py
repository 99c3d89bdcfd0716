"""The planner: which engine and precision ``auto`` means for one network, measured on this machine.

Everything that can run is built and timed once; int8 takes part only if its accuracy was measured on held-out clips and
lies within the budget. The choice is remembered in the cache and carries the reasons why the others lost.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import engines
from dfer_edge.cache import store as cache
from dfer_edge.engines import Choice
from dfer_edge.engines.base import Engine
from dfer_edge.engines.tensorrt.build_progress import Tracker
from dfer_edge.errors import CorruptArtifact, DferError, EngineUnavailable
from dfer_edge.system import cpu

_LOG = logging.getLogger("dfer_edge")

BUDGET = 0.5
"""Points out of 100 that int8 may cost: of unweighted average recall, or of top-1 agreement without true labels."""

# On a GPU fp16 is never slower than fp32 or bf16, and each engine of TensorRT takes minutes to build.
_ORDER = {"cpu": ("int8", "bf16", "fp32"), "cuda": ("int8", "fp16")}
_WARM_UP, _RUNS = 2, 9
# After so many runs, a candidate whose best is this many times the leader's median is not timed any longer.
_FEW_RUNS, _HOPELESS = 2, 1.5
_FILE = "plan.json"
_PHASE = "measuring"
_ON_CUDA_BY_NAME = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-tensorrt")
_NOT_ON_CPU = {
    "torch": "slower than OpenVINO and ONNX Runtime on every CPU measured",
    **dict.fromkeys(_ON_CUDA_BY_NAME, "runs on device cuda; ask for it by name"),
}
_NOT_ON_CUDA = {
    **dict.fromkeys(("openvino", "onnxruntime"), "runs on device cpu"),
    # Where these compete TensorRT itself is installed, which they would be a detour to.
    **dict.fromkeys(_ON_CUDA_BY_NAME[1:], "ask for it by name"),
}
_PACKAGES = {"cpu": ("openvino", "onnxruntime"), "cuda": ("torch", "tensorrt")}

Load = Callable[[Choice], Engine]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was chosen, and why not the others.

    Attributes
    ----------
    engine, precision
        The fastest within the budget.
    latency_ms
        Its median of a batch of 1 when it was measured.
    lost
        ``engine/precision`` -> reason.
    """

    engine: str
    precision: str
    latency_ms: float
    lost: Mapping[str, str]

    @property
    def choice(self) -> Choice:
        return Choice(self.engine, self.precision)


def plan(
    load: Load,
    accuracy: Mapping[str, Any],
    fields: Mapping[str, str],
    engine: str = "auto",
    threads: int | None = None,
    budget: float = BUDGET,
    device: str = "cpu",
) -> Plan:
    """The fastest engine and precision within the budget; remembered, so only the first call measures.

    Parameters
    ----------
    load
        Makes an engine of the network; it is closed after it was timed.
    accuracy
        ``RangeTable.accuracy``: ``drop`` in points on ``clips`` held-out clips; empty if nobody measured.
    fields
        What the network is: name, weights, ranges. A choice is remembered for these, this processor, these versions.
    engine
        ``auto``, or the one whose precisions compete.
    threads
        CPU threads; the cores this process may use if None.
    budget
        Points that int8 may cost.
    device
        ``cpu`` or ``cuda``: where the candidates run.

    Raises
    ------
    EngineUnavailable
        If nothing can run; the message lists the reasons.
    DferError
        If the cache cannot be written.
    """
    candidates, lost = _candidates(engine, accuracy, budget, device)
    key = cache.Key("choices", fields.get("model", "network"), _key(fields, candidates, threads, budget, device))

    def build(folder: Path) -> None:
        found = _measure(load, candidates, lost, Tracker(f"{key.label}, measuring engines"))
        (folder / _FILE).write_text(json.dumps(dataclasses.asdict(found)))

    path = cache.obtain(key, build) / _FILE
    try:
        chosen = Plan(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        cache.discard(key)
        raise CorruptArtifact(f"expected a plan in {path}: {error}", "try again: it was removed") from error
    reasons = "; ".join(f"{name}: {reason}" for name, reason in chosen.lost.items())
    _LOG.info("engine %s, precision %s: %.1f ms; %s", chosen.engine, chosen.precision, chosen.latency_ms, reasons)
    return chosen


def _key(
    fields: Mapping[str, str], candidates: Sequence[Choice], threads: int | None, budget: float, device: str
) -> dict[str, str]:
    return {
        **fields,
        "candidates": ",".join(f"{c.engine}/{c.precision}" for c in candidates),
        "budget": str(budget),
        "threads": str(threads or cpu.available_cores()),
        "processor": cpu.name(),
        **({"gpu": _gpu()} if device == "cuda" else {}),
        **{package: _version(package) for package in _PACKAGES[device]},
    }


def _gpu() -> str:
    """Name and compute capability of the current device, from whichever library sees it."""
    from dfer_edge.engines.cuda_memory import open_cuda

    try:
        found = open_cuda().device()
    except EngineUnavailable:
        import torch

        return f"{torch.cuda.get_device_name()} {'.'.join(map(str, torch.cuda.get_device_capability()))}"
    return f"{found.name} {found.capability}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _candidates(
    engine: str, accuracy: Mapping[str, Any], budget: float, device: str
) -> tuple[list[Choice], dict[str, str]]:
    """What to measure, and what lost before that."""
    found: list[Choice] = []
    lost: dict[str, str] = {}
    for name in engines.BEST_FORM if engine == "auto" else (engine,):
        reason = engines.reasons(name)
        if engine == "auto":
            reason = (_NOT_ON_CUDA if device == "cuda" else _NOT_ON_CPU).get(name, reason)
        if reason:
            lost[name] = reason
            continue
        lacks = engines.precision_reasons(name)
        for precision in _ORDER[device]:
            reason = lacks[precision] or (_unfit(name, accuracy, budget) if precision == "int8" else "")
            if reason:
                lost[f"{name}/{precision}"] = reason
            else:
                found.append(Choice(name, precision))
    if not found:
        raise EngineUnavailable("; ".join(f"{name}: {reason}" for name, reason in lost.items()))
    return found, lost


def _unfit(name: str, accuracy: Mapping[str, Any], budget: float) -> str:
    if (name, "int8") in engines.SIMULATED:
        return "only simulates int8 in float"
    if "drop" not in accuracy:
        return "its accuracy was never measured (dfer-edge calibrate measures it)"
    if not accuracy["drop"] <= budget:
        return f"costs {accuracy['drop']:.1f} points on {accuracy.get('clips')} clips, the budget is {budget:g}"
    return ""


def _measure(load: Load, candidates: Sequence[Choice], lost: Mapping[str, str], tracker: Tracker) -> Plan:
    times: dict[Choice, float] = {}
    reasons = dict(lost)
    tracker.phase_started(_PHASE, None, len(candidates))
    for number, choice in enumerate(candidates):
        found = _try(load, choice, min(times.values(), default=math.inf))
        if isinstance(found, float):
            times[choice] = found
        else:
            reasons[f"{choice.engine}/{choice.precision}"] = found
        tracker.step_done(_PHASE, number)
        if tracker.cancelled:
            raise KeyboardInterrupt
    tracker.phase_finished(_PHASE)
    if not times:
        raise EngineUnavailable("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))
    best = min(times, key=lambda choice: times[choice])
    reasons |= {
        f"{choice.engine}/{choice.precision}": f"{ms:.1f} ms, {ms / times[best]:.2f} times as long"
        for choice, ms in times.items()
        if choice != best
    }
    return Plan(best.engine, best.precision, times[best], reasons)


def _try(load: Load, choice: Choice, best_ms: float) -> float | str:
    """Milliseconds, or why it does not run."""
    try:
        with load(choice) as engine:
            return latency_ms(engine, best_ms)
    except DferError as error:
        return error.message


def latency_ms(engine: Engine, best_ms: float = math.inf) -> float:
    """Median latency of one sample; of noise, because zeros are faster than pictures on some hardware.

    ``best_ms``: of the leader; an engine that is far behind it is timed less often.
    """
    rng = np.random.default_rng(0)
    feed = {
        name: rng.integers(0, 256, (1, *shape), np.uint8)
        if engine.input_dtypes[name] == np.uint8
        else rng.standard_normal((1, *shape), np.float32)
        for name, shape in engine.input_shapes.items()
    }
    for _ in range(_WARM_UP):
        engine.infer(feed)
    times: list[float] = []
    while len(times) < _RUNS and not (len(times) >= _FEW_RUNS and min(times) > _HOPELESS * best_ms):
        begin = time.perf_counter()
        engine.infer(feed)
        times.append((time.perf_counter() - begin) * 1e3)
    return float(np.median(times))
