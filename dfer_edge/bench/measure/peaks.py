"""What this machine can do: peak arithmetic by precision and memory bandwidth, measured, with a second witness.

Arithmetic is a large matrix product: ONNX Runtime's in fp32, OpenVINO's in fp32, bf16 and int8, torch's on a GPU. The
best of several sizes counts, by its fastest run. Bandwidth is a copy of arrays far beyond the caches by all threads,
bytes read plus bytes written, numpy's or torch's. The witnesses are the products of numpy (OpenBLAS, in a process of
its own, since its threads start with numpy) and torch, whichever is faster, and the C library's memcpy.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dfer_edge.bench.measure import timing
from dfer_edge.bench.measure.cost import BYTES
from dfer_edge.bench.measure.timing import Call
from dfer_edge.system import cpu

SIZES = (1024, 2048)
_COPY_BYTES = 256 << 20
# One library's threads spin on after its product, on the cores of the next.
_PAUSE_S = 0.005
AGREE = 0.15
"""How far a peak may be from its witness."""


def measure(threads: int, samples: int = 12, budget_s: float = 3.0) -> dict[str, Any]:
    """Peaks of this machine's CPU with ``threads`` threads.

    Returns
    -------
    ``flops`` by precision, ``bytes_per_s``, ``sources`` (what each came from), and ``witness``: ``values`` of the
    same by other programs, ``tools`` that they came from, and ``ratio``, ours divided by the witness's.
    """
    calls: dict[str, tuple[Call, float]] = {}
    for size in SIZES:
        for name, call in _products(size, threads).items():
            calls[f"{name} {size}"] = (call, 2.0 * size**3)
    rates = _rates(calls, samples, budget_s * len(calls))
    rates |= {f"numpy fp32 {size}": rate for size, rate in numpy_product(threads, samples).items()}
    copies = {name: (call, 2.0 * _COPY_BYTES) for name, call in _copies(threads).items()}
    moved = _rates(copies, 3 * samples, budget_s)
    rates |= {f"{tool} bytes_per_s {threads} threads": rate for tool, rate in moved.items()}
    ours = _best({label: rate for label, rate in rates.items() if not _is_witness(label)})
    others = _best({label: rate for label, rate in rates.items() if _is_witness(label)})
    return {
        "threads": threads,
        "flops": {precision: rate for precision, (_, rate) in ours.items() if precision in BYTES},
        "bytes_per_s": ours["bytes_per_s"][1],
        "sources": {what: label for what, (label, _) in ours.items()},
        "witness": {
            "values": {what: rate for what, (_, rate) in others.items()},
            "tools": {what: label for what, (label, _) in others.items()},
            "ratio": {what: ours[what][1] / rate for what, (_, rate) in others.items() if what in ours},
        },
    }


def _is_witness(label: str) -> bool:
    tool, what = label.split()[:2]
    return tool == "memcpy" or (tool in ("numpy", "torch") and what != "bytes_per_s")


def _best(rates: Mapping[str, float]) -> dict[str, tuple[str, float]]:
    """What was measured -> label and rate of the fastest that measured it."""
    found: dict[str, tuple[str, float]] = {}
    for label, rate in rates.items():
        what = label.split()[1]
        if rate > found.get(what, ("", 0.0))[1]:
            found[what] = (label, rate)
    return found


_NUMPY = """
import sys, time, numpy as np
for size in map(int, sys.argv[2:]):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    a @ b
    times = []
    for _ in range(int(sys.argv[1])):
        begin = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begin)
    print(size, min(times))
"""


def numpy_product(threads: int, samples: int) -> dict[int, float]:
    """Size -> operations a second of numpy's fp32 product, on the cores that this process is pinned to."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    # Set where results must not depend on the processor; here the processor's own kernels are wanted.
    environment.pop("OPENBLAS_CORETYPE", None)
    command = [sys.executable, "-c", _NUMPY, str(samples), *map(str, SIZES)]
    # The interpreter itself, with a program of ours.
    printed = subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.split() for line in printed.splitlines())
    return {int(size): 2.0 * int(size) ** 3 / float(seconds) for size, seconds in pairs}


def _rates(calls: Mapping[str, tuple[Call, float]], samples: int, budget_s: float) -> dict[str, float]:
    """Work a second, by the fastest run of each, taken in turns."""
    times = timing.interleaved(
        {n: call for n, (call, _) in calls.items()}, samples, budget_s, warm_up_s=0.2, pause_s=_PAUSE_S
    )
    return {name: work / (min(times[name]) / 1e3) for name, (_, work) in calls.items()}


def _products(size: int, threads: int) -> dict[str, Call]:
    """``tool precision`` -> product of two matrices of this size, in the precisions that the processor has."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    found: dict[str, Call] = {"onnxruntime fp32": _onnxruntime(a, b, threads)}
    if importlib.util.find_spec("openvino"):
        from dfer_edge.engines.openvino_engine import precisions

        able = [precision for precision in ("fp32", "bf16", "int8") if not precisions()[precision]]
        found |= {f"openvino {precision}": _openvino(a, b, precision, threads) for precision in able}
    if importlib.util.find_spec("torch"):
        # Without the instructions torch emulates bf16 on one core: a minute a product, and a peak of nothing.
        able = ["fp32", "bf16"] if cpu.has_bf16() else ["fp32"]
        found |= {f"torch {precision}": _torch(a, b, precision, threads) for precision in able}
    return found


def _onnxruntime(a: Any, b: Any, threads: int) -> Call:
    import onnx
    import onnxruntime

    size = len(a)
    inside, outside = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, size]) for name in ("x", "y")
    )
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "product", [inside], [outside], [onnx.numpy_helper.from_array(b, "w")])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": a})


def _openvino(a: Any, b: Any, precision: str, threads: int) -> Call:
    # The engine first: it keeps the library's telemetry off.
    from dfer_edge.engines import openvino_engine  # isort: skip
    import openvino  # isort: skip

    opset13 = openvino.opset13
    x = opset13.parameter(list(a.shape), np.float32, "x")
    left, right = x, opset13.constant(b)
    if precision == "int8":
        # The pattern that becomes an integer product: both operands pass 256 levels.
        left = _fake_quantize(opset13, x, 0.0, 255 / 64)
        right = _fake_quantize(opset13, right, -127 / 32, 127 / 32)
        a = np.abs(a)
    model = openvino.Model([opset13.matmul(left, right, False, False)], [x], "product")
    hint = {"bf16": "bf16"}.get(precision, "f32")
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    request = openvino_engine.core().compile_model(model, "CPU", config).create_infer_request()
    return lambda: request.infer([a], share_inputs=True, share_outputs=True)


def _fake_quantize(opset13: Any, value: Any, low: float, high: float) -> Any:
    bounds = [opset13.constant(np.float32(bound)) for bound in (low, high)]
    return opset13.fake_quantize(value, *bounds, *bounds, 256 if low == 0.0 else 255)


def _torch(a: Any, b: Any, precision: str, threads: int) -> Call:
    import torch

    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.from_numpy(x).to(kind) for x in (a, b))
    out = torch.empty(left.shape, dtype=kind)
    torch.set_num_threads(threads)
    return lambda: torch.mm(left, right, out=out)


def _copies(threads: int) -> dict[str, Call]:
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.zeros_like(source)
    pieces = [slice(*edge) for edge in _edges(len(source), threads)]
    pool = concurrent.futures.ThreadPoolExecutor(threads)

    def by_numpy() -> None:
        list(pool.map(lambda piece: np.copyto(target[piece], source[piece]), pieces))

    def by_memcpy() -> None:
        list(pool.map(lambda piece: memcpy(to + piece.start, of + piece.start, piece.stop - piece.start), pieces))

    memcpy, to, of = ctypes.CDLL(None).memcpy, target.ctypes.data, source.ctypes.data
    memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    found: dict[str, Callable[[], Any]] = {"numpy": by_numpy, "memcpy": by_memcpy}
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        tensors = [torch.from_numpy(array.view(np.float32)) for array in (target, source)]
        found["torch"] = lambda: tensors[0].copy_(tensors[1])
    return found


def _edges(length: int, parts: int) -> list[tuple[int, int]]:
    marks = [length * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(marks))
