"""Which frames of a face make a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.spec import SAMPLINGS, ModelSpec
from dfer_edge.types import Image

FloatArray = npt.NDArray[np.float64]

# Seconds that a network sees at once, and seconds between observations of a stream.
WINDOW_S, HOP_S = 4.0, 0.5
# Shorter than a frame of any camera: nothing to see.
SHORTEST_S = 0.01
# Side of what a frame's look is: an eye is two places wide.
_LOOK = 16
# How many times as far from the clip's calm as its median frame a departure is. Chosen on sequences of real people:
# clips of people who act all the time stay as they were, and nine of ten half-seconds in four seconds are read.
_STANDS_OUT = 2.5
# Looks that differ by less are the same: rounding.
_SAME = 1e-3


def uniform_indices(length: int, count: int) -> list[int]:
    """The centre of each of ``count`` equal segments of ``length`` frames (models.md section 1).

    Ascending positions in 0..length-1; with fewer frames than ``count``, frames repeat.

    Raises
    ------
    InvalidInput
        If there are no frames.
    """
    if length < 1:
        raise InvalidInput(f"expected at least one frame to sample from, got {length}")
    return [(2 * segment + 1) * length // (2 * count) for segment in range(count)]


def positions(length: int, spec: ModelSpec) -> list[int]:
    """The ``spec.frames`` positions that a network reads of a clip of ``length`` frames, by ``spec.sampling``.

    The one rule of inference, evaluation and the validation of training; the same length gives the same positions. Of
    ``"apex"`` they are where :func:`towards_apex` starts from.

    Raises
    ------
    InvalidInput
        If there are no frames, or for an unknown rule.
    """
    count = spec.frames
    if length < 1:
        raise InvalidInput(f"expected at least one frame to sample from, got {length}")
    if spec.sampling in ("uniform", "apex"):
        return uniform_indices(length, count)
    if spec.sampling == "strided":
        # DMVR, which Scenic's ViViT reads through: the middle of the clip; a short one is played again and again.
        start = max(0, (length - count * spec.stride) // 2)
        return [(start + step * spec.stride) % length for step in range(count)]
    if spec.sampling == "pairs":
        return _central_pairs(length, count)
    if spec.sampling == "random":
        drawn = np.random.default_rng((length, count)).choice(length, count, replace=length < count)
        return sorted(int(position) for position in drawn)
    raise InvalidInput(f"expected sampling out of {', '.join(SAMPLINGS)}; got {spec.sampling!r}")


def _central_pairs(length: int, count: int) -> list[int]:
    """As Former-DFER tests: neighbours at the centre of each segment of the places where a pair can begin."""
    segments = (count + 1) // 2
    tick = max(length - 1, 1) / segments
    starts = [int(tick / 2 + tick * segment) for segment in range(segments)]
    return [min(start + step, length - 1) for start in starts for step in (0, 1)][:count]


def look(crop: Image) -> FloatArray:
    """A face crop, uint8 RGB [S, S, 3], as 16x16 grey values of mean 0 and deviation 1: what two frames differ in."""
    import cv2

    small = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (_LOOK, _LOOK), interpolation=cv2.INTER_AREA)
    grey: FloatArray = small.astype(np.float64)
    grey -= grey.mean()
    return grey / float(grey.std() + 1.0)


def towards_apex(centres: Sequence[int], looks: Sequence[FloatArray]) -> list[int]:
    """Every second position goes to where, between the two beside it, a face departs from its calm.

    A short expression between the centres of segments, which a network of a few frames a clip would not see at all, is
    seen. Calm is the median look of the clip, and a departure is :data:`_STANDS_OUT` times as far from it as frames are
    in the median, in the mean over a quarter of a segment to both sides: clips of somebody who talks or acts all the
    time, of a face that rests, or of fewer frames than the network reads stay as they are.

    Parameters
    ----------
    centres
        Ascending positions among the frames, of :func:`uniform_indices` or :func:`uniform_in_time`.
    looks
        Of every frame, from :func:`look`.
    """
    lasting = _smoothed(np.stack(looks), len(looks) // (4 * len(centres)))
    away = np.abs(lasting - np.median(looks, axis=0)).mean((1, 2))
    least = max(_STANDS_OUT * float(np.median(away)), _SAME)
    chosen = list(centres)
    for number in range(1, len(chosen), 2):
        centre = chosen[number]
        end = centres[number + 1] if number + 1 < len(centres) else len(looks)
        near = range(min(centres[number - 1] + 1, centre), max(end, centre + 1))
        best = max(near, key=lambda position: away[position])
        if away[best] >= max(least, away[centre]):
            chosen[number] = best
    return chosen


def _smoothed(values: FloatArray, radius: int) -> FloatArray:
    """Means over ``radius`` frames on both sides, fewer at the ends."""
    sums = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
    places = np.arange(len(values))
    first, end = np.maximum(places - radius, 0), np.minimum(places + radius + 1, len(values))
    means: FloatArray = (sums[end] - sums[first]) / (end - first).reshape(-1, *[1] * (values.ndim - 1))
    return means


def uniform_in_time(times_s: Sequence[float], count: int) -> list[int]:
    """As :func:`uniform_indices`, by presentation time: right for variable frame rates, equal for constant ones.

    The position of the frame that is on screen at the centre of each of ``count`` equal parts of the duration, where
    the last frame stays for the median interval.
    """
    if len(times_s) < 2:
        return uniform_indices(len(times_s), count)
    times = np.asarray(times_s, np.float64)
    interval = _interval(times)
    return _on_screen(times, centres(float(times[0]), float(times[-1] - times[0]) + interval, count), interval)


def centres(start_s: float, duration_s: float, count: int) -> FloatArray:
    """The centre of each of ``count`` equal parts of a stretch of time, in seconds."""
    return start_s + (np.arange(count) + 0.5) * duration_s / count


def _interval(times: FloatArray) -> float:
    return float(np.median(np.diff(times)))


def _on_screen(times: FloatArray, moments_s: FloatArray, interval: float) -> list[int]:
    # Time stamps are rounded: a frame that starts a hair after a moment is the one on screen.
    positions = np.searchsorted(times, moments_s + 0.003 * interval, side="right") - 1
    return [max(0, int(position)) for position in positions]
