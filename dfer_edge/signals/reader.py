"""Signals of everybody in a source: sees landmarks frame by frame, answers for a person and a stretch of time."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from dfer_edge.signals.affect import signals_of
from dfer_edge.signals.basis import Floats, load_basis
from dfer_edge.signals.fit import Identity, fit
from dfer_edge.types import Frame, Points, Signals, TrackedFace

if TYPE_CHECKING:
    from dfer_edge.flow.pipeline import Tracker

# Frames of a stretch that are fitted, evenly spread; and those of a person that are kept.
MOST_FRAMES, _KEPT = 32, 1024
# Who was not seen for longest is forgotten above this.
_MOST_PEOPLE = 256
# A person's own neutral: this quantile of what was seen of each unit, at most so much (a smile that lasts is no
# resting face), and trusted half after so many frames.
_QUANTILE, _MOST_NEUTRAL, _HALF_TRUST = 0.2, 0.25, 25


@dataclasses.dataclass
class _Seen:
    time_s: float
    points: Points
    units: Floats | None = None


@dataclasses.dataclass
class _Person:
    identity: Identity
    seen: deque[_Seen]
    levels: deque[Floats]

    def neutral(self) -> Floats:
        """[K]: what this face shows at rest."""
        levels = np.quantile(np.stack(self.levels), _QUANTILE, axis=0)
        trust = (len(self.levels) - 1) / (len(self.levels) - 1 + _HALF_TRUST)
        return np.asarray(np.minimum(levels, _MOST_NEUTRAL) * trust)


class SignalReader:
    """Remembers the landmarks of everybody in one source and says what faces do. Not for several threads at once."""

    def __init__(self) -> None:
        self._basis = load_basis()
        self._people: dict[int, _Person] = {}

    def see(self, track_id: int, time_s: float, landmarks: Points | None) -> None:
        """Note the landmarks [68, 2] of a face in a frame; None where nobody looked."""
        if landmarks is None or not np.isfinite(landmarks).all():
            return
        person = self._people.get(track_id)
        if person is None:
            person = _Person(Identity.unknown(self._basis), deque(maxlen=_KEPT), deque(maxlen=_KEPT))
            if len(self._people) >= _MOST_PEOPLE:
                del self._people[min(self._people, key=lambda known: self._people[known].seen[-1].time_s)]
            self._people[track_id] = person
        person.seen.append(_Seen(time_s, landmarks))

    def signals(self, track_id: int, start_s: float, end_s: float) -> Signals | None:
        """Mean over the frames of a stretch of time; None if no frame of it has landmarks."""
        person = self._people.get(track_id)
        inside = [seen for seen in person.seen if start_s <= seen.time_s <= end_s] if person else []
        if person is None or not inside:
            return None
        chosen = inside
        if len(inside) > MOST_FRAMES:
            places = np.linspace(0, len(inside) - 1, MOST_FRAMES).round().astype(int)
            chosen = [inside[place] for place in places]
        # Stretches overlap: a frame is fitted once, and counts once for the resting face.
        new = [seen for seen in chosen if seen.units is None]
        if new:
            points = np.stack([seen.points for seen in new]).astype(np.float64)
            for seen, units in zip(new, fit(points, self._basis, person.identity), strict=True):
                seen.units = units
                person.levels.append(units)
        known = np.stack([seen.units for seen in chosen if seen.units is not None])
        mean = np.clip(known - person.neutral(), 0.0, 1.0).mean(0)
        named = zip(self._basis.names, mean.tolist(), strict=True)
        return signals_of({name: value for name, value in named if not name.startswith("_")}, len(chosen))


class Listening:
    """A tracker that also shows its faces' landmarks to a reader.

    Parameters
    ----------
    tracker
        The real one.
    reader
        Gets them.
    given
        float [frames, 68, 2]: landmarks of the user's, which win over the tracker's.
    """

    def __init__(self, tracker: Tracker, reader: SignalReader, given: Points | None = None) -> None:
        self._tracker, self._reader, self._given = tracker, reader, given

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """As the real tracker."""
        for frame, faces in self._tracker.track(frames):
            given = self._given[frame.index] if self._given is not None and frame.index < len(self._given) else None
            for face in faces:
                self._reader.see(face.track_id, frame.clock_s, face.landmarks if given is None else given)
            yield frame, faces
