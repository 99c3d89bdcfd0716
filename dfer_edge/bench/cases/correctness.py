"""The gate before the stopwatch: an engine that computes something else is not timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dfer_edge.engines.base import FloatArray
from dfer_edge.engines.tensorrt.gate import TOLERANCE as PROBABILITY
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.flow.postprocess import softmax

Feed = Mapping[str, FloatArray]
Logits = Callable[[Feed], FloatArray]

PROBABILITIES = {**PROBABILITY, "bf16": 3e-2}
# Relative to the spread of the reference's logits over classes: catches what small logits hide in probabilities.
# On noise the default weights differ by 0.11 in bf16, since their sums carry offsets, and by nothing on real faces.
RELATIVE = {"fp32": 1e-3, "bf16": 0.2, "fp16": 0.1, "int8": 0.5}
ROWS = 2


def feeds(shapes: Mapping[str, tuple[int, ...]]) -> list[Feed]:
    """The inputs of the gate, one sample each: the same noise for every engine."""
    batch = gate_feed(shapes, ROWS)
    return [{name: value[row : row + 1] for name, value in batch.items()} for row in range(ROWS)]


def ask(run: Logits, inputs: Sequence[Feed], expected: FloatArray, batch: int, precision: str) -> dict[str, Any]:
    """:func:`check` of a system in queries of ``batch`` samples: the gate's inputs, repeated until they fill it."""
    rows = np.arange(-(-len(inputs) // batch) * batch) % len(inputs)
    feeds = [
        {name: np.concatenate([inputs[row][name] for row in rows[first : first + batch]]) for name in inputs[0]}
        for first in range(0, len(rows), batch)
    ]
    return check(expected[rows], np.concatenate([run(feed) for feed in feeds]), precision)


def check(expected: FloatArray, actual: FloatArray, precision: str) -> dict[str, Any]:
    """Compare logits [N, K] with the reference's.

    Returns
    -------
    ``passed``; ``difference`` (largest, of a probability) and ``tolerance``; ``relative`` (of logits to their spread)
    and its bound; ``same_label``, the share of samples.
    """
    wide, narrow = expected.astype(np.float64), actual.astype(np.float64)
    if wide.shape != narrow.shape or not np.isfinite(narrow).all():
        return {"passed": False, "reason": f"expected finite logits {wide.shape}, got {narrow.shape} or not finite"}
    difference = float(np.abs(softmax(wide) - softmax(narrow)).max())
    spread = float(np.linalg.norm(wide - wide.mean(1, keepdims=True)))
    relative = float(np.linalg.norm(wide - narrow)) / max(spread, 1e-12)
    return {
        "passed": difference <= PROBABILITIES[precision] and relative <= RELATIVE[precision],
        "difference": difference,
        "tolerance": PROBABILITIES[precision],
        "relative": relative,
        "relative_tolerance": RELATIVE[precision],
        "same_label": float((wide.argmax(1) == narrow.argmax(1)).mean()),
        "samples": len(wide),
    }


def reason(found: Mapping[str, Any]) -> str:
    """What a gate that did not pass says."""
    if "difference" not in found:
        return str(found["reason"])
    return (
        f"probabilities differ by {found['difference']:.2g} (allowed {found['tolerance']:g}), logits by "
        f"{found['relative']:.2g} of their spread (allowed {found['relative_tolerance']:g})"
    )
