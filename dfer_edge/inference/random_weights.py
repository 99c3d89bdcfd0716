"""Seeded random weights of an inference form, the same on every machine and for every engine."""

from __future__ import annotations

import math
import zlib

import numpy as np

from dfer_edge.inference.folding import Array
from dfer_edge.inference.symbolic import SymbolicGraph


def draw(graph: SymbolicGraph, seed: int = 0) -> dict[str, Array]:
    """float32 arrays by parameter name; a parameter's values depend on its name and ``seed`` only."""
    weights: dict[str, Array] = {}
    for name, info in graph.weights.items():
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        fan_in = math.prod(info.shape[1:])
        values = generator.standard_normal(info.shape, np.float32)
        values *= np.float32(info.gain / math.sqrt(fan_in))
        weights[name] = values
    return weights
