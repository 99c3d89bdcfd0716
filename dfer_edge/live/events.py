"""Onset, apex and offset of an expression, as they happen."""

from __future__ import annotations

from collections import deque

NEUTRAL = "neutral"
ONSET, APEX, OFFSET = "onset", "apex", "offset"

# The apex is over when the expression has fallen by so much from its highest probability.
_FALL = 0.1


class Events:
    """The events of one person.

    Onset: a label other than neutral begins. Apex: its probability has fallen by a tenth from its highest, said once an
    expression. Offset: it ends, in neutral or in another expression, whose onset follows with the next observation.
    """

    def __init__(self) -> None:
        self._label = NEUTRAL
        self._highest = 0.0
        self._has_peaked = False
        self._waiting: deque[str] = deque()

    def update(self, label: str, probability: float) -> str | None:
        """The event of this observation, or None; ``probability`` is that of the label."""
        if label != self._label:
            if self._label != NEUTRAL:
                self._waiting.append(OFFSET)
            if label != NEUTRAL:
                self._waiting.append(ONSET)
            self._label, self._highest, self._has_peaked = label, probability, False
        elif label != NEUTRAL:
            self._highest = max(self._highest, probability)
            if not self._has_peaked and probability <= self._highest - _FALL:
                self._has_peaked = True
                self._waiting.append(APEX)
        return self._waiting.popleft() if self._waiting else None
