"""Networks with fused kernels inside against the same without, on the torch engine: in turns, one thread.

python -m bench.studies.kernel_places --out bench/results/DEVICE/kernel_places.json

What wins by a margin is what ``kernels="auto"`` takes (dfer_edge/engines/torch_engine.py). Parity first: a pair whose
logits differ by more than 1e-4 (fp32) is not timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, Literal

from dfer_edge.bench.measure import timing

CORES = timing.pin(1)

import numpy as np  # noqa: E402

from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.engines import load_engine  # noqa: E402
from dfer_edge.engines.tensorrt.gate import gate_feed  # noqa: E402
from dfer_edge.export import artifacts  # noqa: E402
from dfer_edge.inference.torch_kernels import PLACES  # noqa: E402
from dfer_edge.models import list_models  # noqa: E402
from dfer_edge.system import cpu  # noqa: E402
from dfer_edge.weights import file as weights  # noqa: E402

HOW: tuple[Literal["none", "auto", "all"], ...] = ("none", "auto", "all")
"""Without, what the engine takes by itself, and with all that have a place."""
_BAR = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 2e-2}


def pair(name: str, weights_name: str, precision: str, rounds: int, budget_s: float, device: str) -> dict[str, Any]:
    """One row: milliseconds with and without, and the medians of the ratios of neighbours."""
    path = artifacts.prepare(weights.resolve(name, weights_name), "2d")
    engines = {how: load_engine(path, "torch", precision, device, 1, how) for how in HOW}
    # A single image, or a clip: what a stream asks for.
    feed = gate_feed(engines["none"].input_shapes, 1)
    logits = {how: engine.infer(feed)["logits"] for how, engine in engines.items()}
    row: dict[str, Any] = {"model": name, "weights": weights_name, "precision": precision}
    distances = {how: float(np.abs(logits[how] - logits["none"]).max()) for how in HOW}
    if max(distances.values()) <= _BAR[precision]:
        calls = {how: (lambda engine=engine: engine.infer(feed)) for how, engine in engines.items()}
        times = timing.interleaved(calls, rounds, budget_s, warm_up_s=0.2, clock=clock_of(device))
        row["without"] = timing.summary(times["none"])
        for how in HOW[1:]:
            ratio = statistics.median(x / y for x, y in zip(times[how], times["none"], strict=True))
            row[how] = {"kernels": engines[how].info()["kernels"], **timing.summary(times[how]), "ratio_p50": ratio}
            row[how]["ratio_of_minima"] = min(times[how]) / min(times["none"])
    for how in HOW[1:]:
        row.setdefault(how, {})["difference"] = distances[how]
    for engine in engines.values():
        engine.close()
    return row


def clock_of(device: str) -> Any:
    """Of the process on the CPU: one thread on a machine that others use too."""
    import time

    return time.perf_counter if device == "cuda" else time.process_time


def main() -> None:
    """Time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list_models(), default=list(PLACES))
    parser.add_argument("--weights", default="random")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"] if cpu.has_bf16() else ["fp32"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="a pair")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        for precision in arguments.precisions:
            rows.append(pair(name, arguments.weights, precision, arguments.rounds, arguments.budget, arguments.device))
            print(json.dumps(rows[-1]), flush=True)
    result = {
        **collect(CORES, f"python -m bench.studies.kernel_places --weights {arguments.weights}"),
        "threads": 1,
        "clock": "process time",
        "rows": rows,
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
