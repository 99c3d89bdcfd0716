"""One person as the follower knows them: where, how fast, what they look like, when they were last seen."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from dfer_edge.faces.aligned import Found
from dfer_edge.faces.appearance import OTHER, SAME, Look, distance
from dfer_edge.faces.geometry import ABOVE, HEIGHT, WIDTH, box_of, face_frame, roll
from dfer_edge.faces.scene import Patch
from dfer_edge.types import Box, Points, TrackedFace

# A velocity is believed for about this long: people stop and turn.
_COASTS_S = 0.4
# Pictures of a face that are kept, and how far a new one lies from all of them at least.
_MOST_LOOKS, _NEW_LOOK = 4, 0.1
# Whose look is not known is neither like nor unlike.
_UNKNOWN = (SAME + OTHER) / 2


@dataclasses.dataclass
class Person:
    """The state of one identity.

    Attributes
    ----------
    track_id
        Their number.
    box, points, score
        As last seen: the box that is reported, landmarks [68, 2] or None, the detector's score.
    seen_s, looked_s
        When they were last in sight, and when the landmark network or the detector last looked.
    visible
        In sight in the newest frame.
    located
        ``box`` means something: not after a cut.
    velocity
        Of the centre, pixels a second.
    patch
        The face's pixels when it was last looked at.
    misses
        Searches in a row that did not find them although the landmark network saw a face.
    """

    track_id: int
    box: Box
    points: Points | None
    score: float
    seen_s: float
    looked_s: float
    patch: Patch
    visible: bool = True
    located: bool = True
    velocity: tuple[float, float] = (0.0, 0.0)
    misses: int = 0
    looks: list[Look] = dataclasses.field(default_factory=list)
    _relative: tuple[float, float, float, float] | None = None
    _laid: Box | None = None

    def tracked(self, now_s: float, moving: bool) -> TrackedFace:
        """What is reported; ``moving``: not looked at in this frame although it moved, so where it should be by now."""
        right, down = self._drift(now_s) if moving else (0.0, 0.0)
        points = self.points if self.points is None else self.points + np.asarray((right, down), np.float32)
        return TrackedFace(self.track_id, _moved(self.box, right, down), points, self.score)

    def expected(self, now_s: float) -> Box:
        """The box, in the detectors' convention, where the face should be by now."""
        if self._laid is None:
            self._laid = self.box if self.points is None else box_of(self.points)
        return _moved(self._laid, *self._drift(now_s))

    @property
    def roll(self) -> float:
        """Radians; 0 without landmarks."""
        return 0.0 if self.points is None else roll(self.points)

    def follow(self, points: Points, box: Box, now_s: float, patch: Patch, aligns: bool) -> None:
        """The landmark network saw them at ``points``, whose box is ``box``."""
        self._move(box if aligns or self.points is None else self._carried(points), now_s, patch)
        self.points, self._laid = points, box

    def confirm(self, found: Found, now_s: float, patch: Patch) -> None:
        """The detector found them; for boxes of its own, so it says how they lie on the face."""
        self._move(found.box, now_s, patch)
        self.points, self.score, self.misses, self._laid = found.points, found.score, 0, None
        self._relative = None if found.points is None else _relative(found.box, found.points)

    def agree(self, box: Box | None, score: float) -> None:
        """The detector sees a face where the landmark network does; ``box`` if boxes are the detector's."""
        self.score, self.misses = score, 0
        if box is not None:
            self.box = box
            self._laid = None if self.points is None else self._laid
            self._relative = None if self.points is None else _relative(box, self.points)

    def remember(self, look: Look) -> None:
        """Keep a picture of the face if it is a new one."""
        if all(distance(look, known) > _NEW_LOOK for known in self.looks):
            # The first stays: it was taken when the identity began, and others may have drifted.
            del self.looks[1 : len(self.looks) - _MOST_LOOKS + 2]
            self.looks.append(look)

    def unlike(self, look: Look | None) -> float:
        """Distance to the nearest picture."""
        if look is None or not self.looks:
            return _UNKNOWN
        return min(distance(look, known) for known in self.looks)

    def reach(self, now_s: float) -> float:
        """Pixels that the face may lie from where it is expected, after the time out of sight."""
        gap_s, size = max(0.0, now_s - self.seen_s), max(self.box.width, self.box.height)
        return size * (0.4 + gap_s) + math.hypot(*self.velocity) * gap_s

    def _drift(self, now_s: float) -> tuple[float, float]:
        time_s = _COASTS_S * (1 - math.exp(-max(0.0, now_s - self.looked_s) / _COASTS_S))
        return self.velocity[0] * time_s, self.velocity[1] * time_s

    def _move(self, box: Box, now_s: float, patch: Patch) -> None:
        step_s, was = now_s - self.looked_s, self.box
        if self.visible and 0 < step_s < 2 * _COASTS_S:
            speed = [(b - a) / step_s for a, b in zip(was.centre, box.centre, strict=True)]
            self.velocity = ((self.velocity[0] + speed[0]) / 2, (self.velocity[1] + speed[1]) / 2)
        elif step_s > 0:
            self.velocity = (0.0, 0.0)
        self.box, self.patch, self.visible, self.located = box, patch, True, True
        self.seen_s = self.looked_s = now_s

    def _carried(self, points: Points) -> Box:
        """The detector's box on points that have moved since."""
        right, down, width, height = self._relative or (0.0, -ABOVE, WIDTH, HEIGHT)
        x, y, s = _frame(points)
        x, y = x + right * s, y + down * s
        return Box(x - width * s / 2, y - height * s / 2, x + width * s / 2, y + height * s / 2)


def _moved(box: Box, right: float, down: float) -> Box:
    return Box(box.left + right, box.top + down, box.right + right, box.bottom + down)


def _relative(box: Box, points: Points) -> tuple[float, float, float, float]:
    """Centre and sides of a box in the frame of a face, in units of its s."""
    (x, y, s), middle = _frame(points), box.centre
    return (middle[0] - x) / s, (middle[1] - y) / s, box.width / s, box.height / s


def _frame(points: Points) -> tuple[float, float, float]:
    (x, y), s = face_frame(points.astype(np.float64))
    return float(x), float(y), max(float(s), 1e-6)
