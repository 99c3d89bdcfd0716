"""A new engine must say what ONNX Runtime says of the same file before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from dfer_edge.engines.base import EngineOptions, Feed, FloatArray
from dfer_edge.engines.onnxruntime_engine import OnnxRuntimeEngine
from dfer_edge.errors import PrecisionUnavailable
from dfer_edge.flow.postprocess import softmax
from dfer_edge.inference.parts import LOGITS

# Largest difference of a probability, or relative difference of features, on noise. Wide enough for rounding, narrow
# enough for what has been seen to go wrong: overflow to NaN, and whole layers computed wrongly.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}


def gate_feed(
    shapes: Mapping[str, tuple[int, ...]],
    rows: int,
    seed: int = 0,
    dtypes: Mapping[str, np.dtype[np.generic]] | None = None,
) -> Feed:
    """Seeded noise [rows, ...] for every input, float32 unless ``dtypes`` has uint8 for it.

    Landmarks lie in the middle half of the crop.
    """
    chance = np.random.default_rng(seed)
    feed: Feed = {}
    for name, shape in shapes.items():
        if dtypes is not None and dtypes[name] == np.uint8:
            feed[name] = chance.integers(0, 256, (rows, *shape), np.uint8)
            continue
        noise = chance.standard_normal((rows, *shape), np.float32)
        if name == "landmarks":
            side = shapes["clip"][-2]
            noise = chance.uniform(0.25 * side, 0.75 * side, (rows, *shape)).astype(np.float32)
        feed[name] = noise
    return feed


def disagreement(output: str, expected: FloatArray, actual: FloatArray) -> float:
    """Largest difference of any probability, or the relative difference of features; infinite with NaN."""
    if not np.isfinite(actual).all():
        return float("inf")
    wide, narrow = expected.astype(np.float64), actual.astype(np.float64)
    if output == LOGITS:
        return float(np.abs(softmax(wide) - softmax(narrow)).max())
    return float(np.linalg.norm(wide - narrow)) / max(float(np.linalg.norm(wide)), 1e-12)


def reference(source: Path, output: str, precision: str, feed: Feed) -> FloatArray:
    """What ONNX Runtime says of the same file and input [B, ...]; int8 is simulated."""
    exact = "int8" if precision == "int8" else "fp32"
    with OnnxRuntimeEngine(source, EngineOptions(exact, "cpu")) as engine:
        return engine.infer(feed)[output]


def check(
    source: Path,
    output: str,
    precision: str,
    feed: Feed,
    expected: FloatArray,
    run: Callable[[Feed], FloatArray],
    sizes: Iterable[int],
) -> dict[str, float]:
    """Hold an engine of ``source`` against :func:`reference`.

    Parameters
    ----------
    source, output, precision
        The file, the name of its output, and how the engine computes.
    feed, expected
        Inputs [B, ...], and :func:`reference` of them.
    run
        The engine.
    sizes
        Batch sizes up to B to run it with.

    Returns
    -------
    ``difference`` and ``tolerance``.

    Raises
    ------
    PrecisionUnavailable
        If they are further apart than the precision explains.
    """
    parts = {size: run({name: value[:size] for name, value in feed.items()}) for size in sizes}
    difference = max(disagreement(output, expected[:size], actual) for size, actual in parts.items())
    if not difference <= TOLERANCE[precision]:
        reason = f"its {output} differ by {difference:.3g} from ONNX Runtime's on the same input"
        message = f"TensorRT's {precision} engine of {source} is wrong on this device: {reason}"
        raise PrecisionUnavailable(f"{message}; expected at most {TOLERANCE[precision]:g}", "use --precision fp32")
    return {"difference": difference, "tolerance": TOLERANCE[precision]}
