"""`attention_gate` by the C++ loops of csrc/attention_gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dfer_edge.kernels import dispatch
from dfer_edge.kernels.arrays import Array, dtype_name, host_view


def declines(x: Array, *_: Any) -> str:
    """Takes float32 in host memory."""
    name = dtype_name(x)
    return "" if name == "float32" else f"takes float32, got {name}"


def run(x: Array, kind: str, weights: Sequence[Array], pool: bool, out: Array) -> None:
    """Fill ``out``; see reference.py."""
    from dfer_edge import _cpu

    views = [host_view(weight) for weight in weights]
    _cpu.attention_gate(host_view(x), kind, views, pool, host_view(out), dispatch.threads())
