"""Seeded random weights of an inference form, the same on every machine and for every engine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from dfer_edge.inference.folding import Array
from dfer_edge.inference.symbolic import SymbolicGraph


class RandomWeights(Mapping[str, Array]):
    """float32 arrays by parameter name, drawn when asked for so that a large network is never held twice.

    A parameter's values depend on its name, its shape and the seed only.
    """

    def __init__(self, graph: SymbolicGraph, seed: int = 0) -> None:
        self._infos, self._seed = graph.weights, seed

    def __getitem__(self, name: str) -> Array:
        info = self._infos[name]
        generator = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        values = generator.standard_normal(info.shape, np.float32)
        values *= np.float32(info.gain / math.sqrt(math.prod(info.shape[1:])))
        return values

    def __contains__(self, name: object) -> bool:
        return name in self._infos  # without drawing it, as a mapping's own would

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)
