"""Which frames of a clip a network sees in training; elsewhere :func:`dfer_edge.flow.clips.positions` says."""

from __future__ import annotations

import itertools

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.flow.clips import uniform_indices
from dfer_edge.training.recipes import Sampling

Generator = np.random.Generator


def draw_frames(sampling: Sampling, length: int, count: int, rng: Generator) -> list[int]:
    """``count`` positions in a clip of ``length`` frames, ascending; short clips repeat frames or start over.

    Raises
    ------
    InvalidInput
        For an unknown rule or an empty clip.
    """
    if length < 1:
        raise InvalidInput(f"expected at least one frame to sample from, got {length}")
    if sampling.name == "uniform":
        return uniform_indices(length, count)
    if sampling.name == "segments":
        return _segments(length, count, rng)
    if sampling.name == "pairs":
        return _pairs(length, count, rng)
    if sampling.name == "stride":
        span = (count - 1) * sampling.stride + 1
        start = int(rng.integers(max(length - span, 0) + 1))
        # As DMVR reads for Scenic: a short clip is played again and again.
        return [(start + step * sampling.stride) % length for step in range(count)]
    if sampling.name == "random":
        return sorted(int(p) for p in rng.choice(length, count, replace=length < count))
    raise InvalidInput(f"expected sampling out of uniform, segments, pairs, stride, random; got {sampling.name!r}")


def _segments(length: int, count: int, rng: Generator) -> list[int]:
    edges = np.arange(count + 1) * length / count
    places = edges[:-1] + rng.random(count) * (edges[1:] - edges[:-1])
    return [min(int(place), length - 1) for place in places]


def _pairs(length: int, count: int, rng: Generator) -> list[int]:
    edges = [length * segment // ((count + 1) // 2) for segment in range((count + 1) // 2 + 1)]
    starts = [low + int(rng.integers(max(high - low - 1, 1))) for low, high in itertools.pairwise(edges)]
    # In clips too short for pairs that do not overlap, frames repeat.
    return sorted(min(start + step, length - 1) for start in starts for step in (0, 1))[:count]
