"""The past of one person, sampled causally: every window ends with the newest frame.

A clip of T frames over a window is taken at ``t - k * window / T``, k = T-1 to 0, where t is the time of the newest
frame: as far apart as the centres of equal segments, which networks are trained on, and without a frame of the future.
Where a person was seen for less than a window the frames lie closer, over the time that the person was there.

Networks that share features between windows read a clip in steps of one or more frames. The frames of a step follow
from its last frame alone, whenever it was the newest: its features are computed once and are exact ever after.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfer_edge.engines.base import Kept
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Clip, Image, Points

# Moments at which steps may begin, for each step of a window: bounds memory and features at any frame rate. The frame
# taken lies within a 16th of a step of the moment asked for.
_MOMENTS_A_STEP = 8
# Time stamps are rounded.
_HAIR_S = 1e-6


@dataclasses.dataclass(frozen=True)
class Glimpse:
    """One face in one frame: crop [S, S, 3], points [68, 2] in crop pixels for networks that take them."""

    index: int
    time_s: float
    box: Box
    crop: Image
    points: Points | None = None


@dataclasses.dataclass(eq=False)
class Step:
    """The frames of a step, oldest first, and what a network computed of them: scores, or features that it keeps."""

    glimpses: tuple[Glimpse, ...]
    features: npt.NDArray[np.float32] | Kept | None = None

    @property
    def newest(self) -> Glimpse:
        return self.glimpses[-1]

    def clip(self) -> Clip:
        """The step alone, as a clip."""
        return as_clip(self.glimpses)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a network samples a window.

    Attributes
    ----------
    steps, frames_per_step
        Of a clip; frames that do not fill a step are not sampled.
    interval_s
        Between two frames of a clip.
    """

    steps: int
    frames_per_step: int
    interval_s: float

    @classmethod
    def of(cls, spec: ModelSpec, frames_per_step: int, window_s: float) -> Sampling:
        """The sampling of a network; ``frames_per_step`` is 1 for those that share nothing between windows."""
        return cls(spec.frames // frames_per_step, frames_per_step, window_s / spec.frames)

    @property
    def step_s(self) -> float:
        """Seconds between two steps of a full window."""
        return self.interval_s * self.frames_per_step


class History:
    """Steps of one person, as old as a window needs."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._steps: deque[Step] = deque()

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last_s(self) -> float:
        """Time of the newest frame."""
        return self._steps[-1].newest.time_s

    def add(self, glimpse: Glimpse) -> None:
        """Append the newest frame of the person; times ascend."""
        if len(self._steps) > 1 and self._is_dense():
            self._steps.pop()
        self._steps.append(Step(self._frames(glimpse)))
        oldest_s = glimpse.time_s - self._sampling.step_s * (self._sampling.steps - 0.5) - _HAIR_S
        while self._steps[0].newest.time_s < oldest_s:
            self._steps.popleft()

    def window(self) -> list[Step]:
        """The steps of the window that ends with the newest frame, oldest first; short histories repeat steps."""
        times = [step.newest.time_s for step in self._steps]
        count = self._sampling.steps
        spacing = min(self._sampling.step_s, (times[-1] - times[0]) / max(1, count - 1))
        return [self._steps[_nearest(times, times[-1] - k * spacing)] for k in reversed(range(count))]

    def _is_dense(self) -> bool:
        """Whether the last step was needed only while it was the newest."""
        last, before = self._steps[-1].newest.time_s, self._steps[-2].newest.time_s
        return last - before < self._sampling.step_s / _MOMENTS_A_STEP - _HAIR_S

    def _frames(self, glimpse: Glimpse) -> tuple[Glimpse, ...]:
        known = [*(step.newest for step in self._steps), glimpse]
        times = [seen.time_s for seen in known]
        interval = self._sampling.interval_s
        moments = [glimpse.time_s - k * interval for k in reversed(range(self._sampling.frames_per_step))]
        return tuple(known[_nearest(times, moment)] for moment in moments)


def frames_of(window: Sequence[Step]) -> tuple[Glimpse, ...]:
    """All frames of a window, oldest first."""
    return tuple(glimpse for step in window for glimpse in step.glimpses)


def as_clip(glimpses: Sequence[Glimpse]) -> Clip:
    """Frames as the clip that preprocessing takes."""
    points = [glimpse.points for glimpse in glimpses if glimpse.points is not None]
    return Clip(
        np.stack([glimpse.crop for glimpse in glimpses]),
        tuple(glimpse.index for glimpse in glimpses),
        glimpses[-1].box,
        np.stack(points) if len(points) == len(glimpses) else None,
    )


def _nearest(times_s: Sequence[float], moment_s: float) -> int:
    """Position of the time nearest to a moment, the earlier of two."""
    right = bisect.bisect_left(times_s, moment_s - _HAIR_S)
    if right == 0 or right == len(times_s):
        return min(right, len(times_s) - 1)
    return right if times_s[right] - moment_s < moment_s - times_s[right - 1] - _HAIR_S else right - 1
