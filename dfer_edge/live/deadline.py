"""Deadline mode: results that would come too late are not made, and what costs time is turned down within limits."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque

from dfer_edge.live.options import Limits

_LOG = logging.getLogger("dfer_edge")
# The estimate is near the worst of so many costs; decisions rest on so many results at most, and at least.
_COSTS, _WORST = 40, 0.95
_RESULTS, _FEWEST = 300, 20
# More than this share of late results is too many: 99 % is what is promised. One or two are no share.
_TOO_LATE, _TOO_MANY = 0.01, 3
# Turn up again after so long with results this much younger than the deadline.
_CALM_S, _CALM_SHARE = 10.0, 0.6
# However slow the machine is: one result in so many seconds is made, late.
_LEAST_EVERY_S = 1.0


@dataclasses.dataclass(frozen=True)
class Level:
    """What is turned down: longer hop and beat in seconds, another precision or ``""``."""

    hop_s: float
    beat_s: float
    precision: str = ""


class Deadline:
    """Decides which frames are worth an engine call, and how much the stream does.

    Parameters
    ----------
    deadline_ms
        From capture to observation.
    limits
        Of what may be turned down.
    hop_s, beat_s
        As the caller wants them.

    Attributes
    ----------
    late, skipped
        Results that were made and came late; frames that were not scored since they would have been.
    """

    def __init__(self, deadline_ms: float, limits: Limits, hop_s: float, beat_s: float) -> None:
        self._deadline_s = deadline_ms / 1e3
        self.levels = _levels(limits, hop_s, beat_s)
        self.position = 0
        self.late = self.skipped = 0
        self._costs: deque[float] = deque(maxlen=_COSTS)
        self._outcomes: deque[bool] = deque(maxlen=_RESULTS)
        self._calm_since_s = self._last_made_s = float("-inf")

    @property
    def level(self) -> Level:
        return self.levels[self.position]

    def admits(self, age_s: float, now_s: float) -> bool:
        """Whether a frame that is ``age_s`` old shall be scored now."""
        if age_s + self.estimate_s() <= self._deadline_s or now_s - self._last_made_s >= _LEAST_EVERY_S:
            return True
        self.skipped += 1
        self._outcomes.append(False)
        self._judge(now_s)
        return False

    def estimate_s(self) -> float:
        """What scoring costs, pessimistically; 0 before anything was scored."""
        if not self._costs:
            return 0.0
        return sorted(self._costs)[min(len(self._costs) - 1, int(_WORST * len(self._costs)))]

    def made(self, cost_s: float, age_s: float, now_s: float) -> None:
        """A result was made: what scoring cost, and its age."""
        self._costs.append(cost_s)
        self._last_made_s = now_s
        in_time = age_s <= self._deadline_s
        self.late += not in_time
        self._outcomes.append(in_time)
        if age_s > _CALM_SHARE * self._deadline_s:
            self._calm_since_s = now_s
        self._judge(now_s)

    def _judge(self, now_s: float) -> None:
        if len(self._outcomes) < _FEWEST:
            return
        misses = len(self._outcomes) - sum(self._outcomes)
        failed = misses / len(self._outcomes)
        if misses >= _TOO_MANY and failed > _TOO_LATE and self.position < len(self.levels) - 1:
            self._move(1, f"{failed:.0%} of results miss {self._deadline_s * 1e3:.0f} ms", now_s)
        elif failed <= _TOO_LATE and self.position > 0 and now_s - self._calm_since_s > _CALM_S:
            self._move(-1, "there is time to spare", now_s)

    def _move(self, by: int, why: str, now_s: float) -> None:
        self.position += by
        self._outcomes.clear()
        self._costs.clear()
        self._calm_since_s = now_s
        level = self.level
        precision = f", precision {level.precision}" if level.precision else ""
        text = "deadline: %s; now an observation every %.2f s, a look for newcomers every %.2f s%s"
        _LOG.warning(text, why, level.hop_s, level.beat_s, precision)


def _levels(limits: Limits, hop_s: float, beat_s: float) -> list[Level]:
    """From what the caller wants to all that the limits allow: newcomers first, then precision, then the hop."""
    levels = [Level(hop_s, beat_s)]
    while levels[-1].beat_s < limits.beat_s:
        levels.append(dataclasses.replace(levels[-1], beat_s=min(limits.beat_s, max(2 * levels[-1].beat_s, 0.1))))
    levels += [dataclasses.replace(levels[-1], precision=precision) for precision in limits.precisions]
    while levels[-1].hop_s < limits.hop_s:
        levels.append(dataclasses.replace(levels[-1], hop_s=min(limits.hop_s, max(2 * levels[-1].hop_s, 0.05))))
    return levels
