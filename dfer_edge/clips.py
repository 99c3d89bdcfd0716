"""Which frames of a face make a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfer_edge.errors import InvalidInput

# Seconds that a network sees at once, and seconds between observations of a stream.
WINDOW_S, HOP_S = 4.0, 0.5
# Shorter than a frame of any camera: nothing to see.
SHORTEST_S = 0.01


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


def uniform_in_time(times_s: Sequence[float], count: int) -> list[int]:
    """As :func:`uniform_indices`, by presentation time: right for variable frame rates, equal for constant ones.

    The position of the frame that is on screen at the centre of each of ``count`` equal parts of the duration, where
    the last frame stays for the median interval.
    """
    if len(times_s) < 2:
        return uniform_indices(len(times_s), count)
    times = np.asarray(times_s, np.float64)
    interval = float(np.median(np.diff(times)))
    duration = times[-1] - times[0] + interval
    centres = times[0] + (np.arange(count) + 0.5) * duration / count
    # Time stamps are rounded: a frame that starts a hair after a centre is the one on screen.
    positions = np.searchsorted(times, centres + 0.003 * interval, side="right") - 1
    return [int(position) for position in positions]
