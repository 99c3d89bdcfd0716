"""The GPU kernels: checked first, then timed with device events, against the copy bandwidth of the same device.

Built, not yet run on hardware.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from dfer_edge import kernels
from dfer_edge.bench.cases.context import Context, failure
from dfer_edge.bench.cases.kernel_cases import Bar
from dfer_edge.bench.cases.kernel_estimates import estimates
from dfer_edge.bench.cases.kernels import case_module
from dfer_edge.bench.measure import timing
from dfer_edge.bench.report.results import WRONG, Row
from dfer_edge.errors import EngineUnavailable

BACKENDS = ("cuda", "triton")
_FLUSH_BYTES, _COPY_BYTES, _PRODUCT = 256 << 20, 512 << 20, 8192


def run(context: Context, op: str) -> None:
    """One operation: a row for each of our backends, each rival and the floor.

    Raises
    ------
    EngineUnavailable
        Without torch or a CUDA device.
    """
    case_id, device = f"kernel-cuda/{op}", require_device()
    case = case_module(op)
    if not hasattr(case, "gpu_cases"):
        context.refuse(case_id, "this operation has no case for a GPU")
        return
    config = {"op": op, "title": case.GPU_TITLE, "data": "synthetic", **device}
    times: dict[str, list[float]] = {}
    for name in BACKENDS:
        if reason := kernels.backends(op)[name]:
            context.refuse(f"{case_id}/{name}", reason, **config)
            continue
        try:
            with kernels.use_backend(name):
                case.gpu_check()
                times[name] = events(case.gpu_cases()["ours"], context.plan.samples)
        except AssertionError as error:
            context.emit(Row(f"{case_id}/{name}", WRONG, f"its own check fails: {error}", config=config), case_id)
        except Exception as error:  # of a compiler or the device: the other implementations still count
            context.emit(failure(f"{case_id}/{name}", error), case_id)
    for name, call in case.gpu_cases().items():
        if name != "ours":
            try:
                times[name] = events(call, context.plan.samples)
            except Exception as error:  # as above
                context.emit(failure(f"{case_id}/{name}", error), case_id)
    _report(context, case, case_id, config, times)


def _report(
    context: Context, case: ModuleType, case_id: str, config: dict[str, Any], times: dict[str, list[float]]
) -> None:
    floor_ms = case.GPU_MOVED_BYTES / copy_bandwidth(context.plan.samples) * 1e3
    for name, values in times.items():
        row = Row(f"{case_id}/{name}", config=config, latency_ms=timing.summary(values))
        share = floor_ms / float(row.latency_ms["p50"])
        row.extra = {"share_of_floor": share, "moved_bytes": case.GPU_MOVED_BYTES, "floor_ms": floor_ms}
        if name in BACKENDS:
            promised = Bar(case.GPU_SHARE_OF_FLOOR)
            if case.GPU_SHARE_OF_FLOOR:
                row.extra["bar"] = {"at_least": promised.at_least, "met": promised.met(share)}
            row.extra["rivals"] = _rivals(case, name, times)
            # Beside the bar: what it could be, by arithmetic.
            op = config["op"]
            row.extra["share_at_most"] = {board: e.share_of_floor for board, e in estimates(op).items()}
        context.emit(row, case_id)


def _rivals(case: ModuleType, backend: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Ratios of rivals' times to this backend's, beside the promised ones."""
    medians = {name: float(timing.summary(values)["p50"]) for name, values in times.items()}
    found = {}
    for rival, bar in getattr(case, "GPU_BARS", {}).items():
        if rival not in medians:
            continue
        ratio = medians[rival] / medians[backend]
        found[rival] = {"at_least": bar.at_least, "ratio": ratio, "met": bar.met(ratio)}
    return found


def require_device() -> dict[str, Any]:
    """What will run.

    Raises
    ------
    EngineUnavailable
        Without torch or a CUDA device.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailable("torch is not installed") from error
    if not torch.cuda.is_available():
        raise EngineUnavailable("torch sees no CUDA device")
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
    }


def events(call: Callable[[], Any], samples: int) -> list[float]:
    """Milliseconds of each call by CUDA events, after a warm-up by time; the L2 cache is overwritten before each."""
    import torch

    flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        call()
    torch.cuda.synchronize()
    event: Any = torch.cuda.Event
    pairs = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(samples)]
    for begin, finish in pairs:
        flush.zero_()
        begin.record()
        call()
        finish.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(finish) for begin, finish in pairs]


@functools.lru_cache(maxsize=1)
def copy_bandwidth(samples: int) -> float:
    """Bytes a second, read and written, of a device copy."""
    import torch

    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = float(timing.summary(events(lambda: target.copy_(source), samples))["p50"]) / 1e3
    return 2 * source.numel() / seconds


def peaks(samples: int = 50) -> dict[str, Any]:
    """Peaks of the GPU as :func:`dfer_edge.bench.measure.peaks.measure` has them of the CPU: torch's product and copy.

    Built, not yet run on hardware.

    Raises
    ------
    EngineUnavailable
        Without torch or a CUDA device.
    """
    device = require_device()
    import torch

    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    flops: dict[str, float] = {}
    for precision, kind in kinds.items():
        a, b = (torch.randn(_PRODUCT, _PRODUCT, device="cuda").to(kind) for _ in range(2))
        out = torch.empty_like(a)
        fastest = min(events(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), samples))  # type: ignore[misc]
        flops[precision] = 2.0 * _PRODUCT**3 / (fastest / 1e3)
    sources = dict.fromkeys(flops, f"torch, {_PRODUCT} x {_PRODUCT}") | {"bytes_per_s": "torch, device copy"}
    return {"flops": flops, "bytes_per_s": copy_bandwidth(samples), "sources": sources, "device": device["gpu"]}
