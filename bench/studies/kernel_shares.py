"""What a fused kernel could spare ONNX Runtime and OpenVINO at most: the time of all but convolutions and products.

python -m bench.studies.kernel_shares --out bench/results/CPU/kernel_shares.json

By the engines' own profiles, one thread, random weights. Both run a graph of their own operations; a kernel of ours
would split it and carry the maps over, so what is left over is a bound from above for the gain of a placement.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import timing

CORES = timing.pin(1)

import onnxruntime  # noqa: E402

from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.engines.openvino_engine import core  # noqa: E402
from dfer_edge.engines.tensorrt.gate import gate_feed  # noqa: E402
from dfer_edge.export import artifacts  # noqa: E402
from dfer_edge.inference.parts import input_shapes  # noqa: E402
from dfer_edge.weights import file as weights  # noqa: E402

# Sums of products, reordering for them included: what none of our kernels does better.
_PRODUCTS = ("Conv", "Gemm", "MatMul", "FullyConnected", "Reorder")
_MODELS = ("slowr50_sa", "keypoint_tsa", "agfer", "sefer", "cbamfer")


def by_onnxruntime(path: Path, feed: dict[str, Any], runs: int) -> dict[str, float]:
    """Operation -> microseconds a run."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling = 1, True
        options.profile_file_prefix = os.path.join(folder, "profile")  # noqa: PTH118 - a prefix, no path
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(runs + 1):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[str, float] = collections.Counter()
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    # The first run is a warm-up.
    for event in kernels[len(kernels) // (runs + 1) :]:
        found[event["args"]["op_name"]] += event["dur"] / runs
    return found


def by_openvino(path: Path, feed: dict[str, Any], runs: int, precision: str) -> dict[str, float]:
    """Operation -> microseconds a run."""
    config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    request = core().compile_model(core().read_model(path), "CPU", config).create_infer_request()
    found: dict[str, float] = collections.Counter()
    for run in range(runs + 1):
        request.infer(feed)
        for entry in request.get_profiling_info() if run else ():
            found[entry.node_type] += entry.real_time.total_seconds() * 1e6 / runs
    return found


def shares(name: str, runs: int) -> list[dict[str, Any]]:
    """A row an engine and precision."""
    source = weights.random(name)
    feed, rows = gate_feed(input_shapes(source.spec), 1), []
    two, three = (artifacts.prepare(source, form) for form in ("2d", "3d"))
    profiles = {
        "onnxruntime/fp32": by_onnxruntime(two, feed, runs),
        "openvino/fp32": by_openvino(three, feed, runs, "f32"),
        "openvino/bf16": by_openvino(three, feed, runs, "bf16"),
    }
    for engine, times in profiles.items():
        total, products = sum(times.values()), sum(t for op, t in times.items() if op.startswith(_PRODUCTS))
        others = sorted(((t, op) for op, t in times.items() if not op.startswith(_PRODUCTS)), reverse=True)
        row = {"model": name, "engine": engine, "ms": total / 1e3, "outside_products": 1 - products / total}
        rows.append(row | {"largest": {op: t / total for t, op in others[:5]}})
    return rows


def main() -> None:
    """Profile and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=_MODELS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.models:
        rows += shares(name, arguments.runs)
        print(json.dumps(rows[-3:]), flush=True)
    if arguments.out:
        facts = collect(CORES, "python -m bench.studies.kernel_shares")
        arguments.out.write_text(json.dumps({**facts, "threads": 1, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
