"""The first stage of a stream: in each frame, who is where; crops where an observation is due."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.flow import preprocess
from dfer_edge.flow.pipeline import Tracker
from dfer_edge.inference.keypoint_graph import fill_missing
from dfer_edge.live.frames import Captured
from dfer_edge.live.history import Glimpse
from dfer_edge.live.options import Options
from dfer_edge.signals import SignalReader
from dfer_edge.spec import ModelSpec
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Frame, Points, Signals, TrackedFace

_LOG = logging.getLogger("dfer_edge")
# The interval between two frames before one is known.
_NOMINAL_S = 0.04
# Stamps that swap places by less are no set clock.
_SHUFFLE_S = 0.5
_HAIR_S = 1e-6


class Watching(NamedTuple):
    """What looks at one source.

    ``tracker`` gives each frame its faces without lag; ``reader`` reads signals off them, if they are asked for;
    ``reads_whole``: frames are face crops that the network reads whole.
    """

    tracker: Tracker
    reader: SignalReader | None = None
    reads_whole: bool = False


@dataclasses.dataclass(frozen=True)
class Look:
    """What was found in one frame.

    Attributes
    ----------
    captured
        The frame; its ``time_s`` is free of jumps.
    glimpses
        By track, the largest face first.
    points
        By track, in pixels of the frame, where landmarks were found.
    seen
        By track: share of the frames of the last window in which the person was seen.
    is_due
        Whether an observation is; else the frames are only remembered.
    others
        Faces beyond ``max_people``.
    timings_ms
        Of this stage.
    signals
        By track, if they were asked for.
    """

    captured: Captured
    glimpses: Mapping[int, Glimpse]
    points: Mapping[int, Points]
    seen: Mapping[int, float]
    is_due: bool
    others: int
    timings_ms: Mapping[str, float]
    signals: Mapping[int, Signals | None] = dataclasses.field(default_factory=dict)


class Looker:
    """Looks at the frames of one source, in order.

    Parameters
    ----------
    spec
        Of the network that will see the crops.
    options
        Of the stream.
    watching
        Who is where.
    landmarks
        Finds the points of networks that take them.

    Attributes
    ----------
    hop_s
        Between observations; deadline mode changes it.
    faces
        Of the last frame.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: Options,
        watching: Watching,
        landmarks: LandmarkDetector | None,
    ) -> None:
        self._spec, self._options, self._landmarks = spec, options, landmarks
        self._tracker, self._reader, self._reads_whole = watching
        self.hop_s = options.hop_s
        self.faces: tuple[TrackedFace, ...] = ()
        self._clock = SteadyClock()
        self._due_s = self._remember_s = float("-inf")
        self._recent: deque[tuple[float, frozenset[int]]] = deque()
        # Steps of a clip lie closer than long hops: those frames are remembered between observations.
        self._interval_s = options.window_s / spec.frames
        self._last_points: dict[int, Points] = {}

    def look(self, captured: Captured) -> Look | None:
        """What is in a frame; None where it needs neither an observation nor remembering."""
        watch, frame = Stopwatch(), captured.frame
        frame = dataclasses.replace(frame, time_s=self._clock.steady(frame.clock_s))
        with watch.stage("detect"):
            # Trackers of streams have no lag: a frame in, the same frame out.
            _, self.faces = next(iter(self._tracker.track(iter([frame]))))
        if self._reader is not None:
            for face in self.faces:
                self._reader.see(face.track_id, frame.clock_s, face.landmarks)
        seen = self._share(frame.clock_s)
        is_due = self._is_due(frame.clock_s)
        if not is_due and not self._is_remembered(frame.clock_s):
            return None
        largest = sorted(self.faces, key=lambda face: -face.box.area)
        chosen = largest[: self._options.max_people]
        with watch.stage("preprocess"):
            glimpses = {face.track_id: self._glimpse(frame, face, watch) for face in chosen}
        points = {face.track_id: found for face in chosen if (found := face.landmarks) is not None}
        others = len(largest) - len(chosen)
        signals: dict[int, Signals | None] = {}
        if is_due and self._reader is not None:
            begin_s = frame.clock_s - self._options.window_s
            with watch.stage("signals"):
                signals = {
                    face.track_id: self._reader.signals(face.track_id, begin_s, frame.clock_s) for face in chosen
                }
        captured = dataclasses.replace(captured, frame=frame)
        return Look(captured, glimpses, points, seen, is_due, others, watch.milliseconds(), signals)

    @property
    def owes(self) -> bool:
        """Whether a search of the last frame was put off, see :class:`~dfer_edge.faces.follow.FaceFollower`."""
        return getattr(self._tracker, "owes", False)

    def catch_up(self) -> None:
        """Make it now."""
        if self.owes:
            self._tracker.catch_up()  # type: ignore[attr-defined] # who owes can

    def postpone(self) -> None:
        """From now on searches may be put off: somebody will call :meth:`catch_up`."""
        if hasattr(self._tracker, "postpones"):
            self._tracker.postpones = True

    @property
    def beat_s(self) -> float | None:
        """Seconds between looks for newcomers; None where there is no such beat."""
        return getattr(self._tracker, "beat_s", None)

    @beat_s.setter
    def beat_s(self, seconds: float) -> None:
        if hasattr(self._tracker, "beat_s"):
            self._tracker.beat_s = seconds

    def _is_due(self, now_s: float) -> bool:
        if now_s < self._due_s - _HAIR_S:
            return False
        # Behind by more than a hop: no burst to make up for it.
        self._due_s = (self._due_s if now_s <= self._due_s + self.hop_s else now_s) + self.hop_s
        self._remember_s = now_s + self._interval_s
        return True

    def _is_remembered(self, now_s: float) -> bool:
        if self.hop_s <= self._interval_s or now_s < self._remember_s - _HAIR_S:
            return False
        self._remember_s = now_s + self._interval_s
        return True

    def _share(self, now_s: float) -> dict[int, float]:
        self._recent.append((now_s, frozenset(face.track_id for face in self.faces)))
        while self._recent[0][0] < now_s - self._options.window_s:
            self._recent.popleft()
        counts = {face.track_id: 0 for face in self.faces}
        for _, people in self._recent:
            for track_id in people & counts.keys():
                counts[track_id] += 1
        return {track_id: count / len(self._recent) for track_id, count in counts.items()}

    def _glimpse(self, frame: Frame, face: TrackedFace, watch: Stopwatch) -> Glimpse:
        spec, box = self._spec, face.box
        if self._reads_whole:
            crop = preprocess.whole_frame(frame.image, spec)
            inside = preprocess.inside_crop(spec)
        else:
            crop = preprocess.face_crop(frame.image, box, spec)
            inside = preprocess.box_in_crop(box, preprocess.region(box, spec), spec.size)
        points = None
        if spec.landmarks and self._landmarks is not None:
            with watch.stage("landmarks"):
                points = faces_landmarks.find(self._landmarks, crop, inside)
            points = self._filled(face.track_id, points)
        return Glimpse(frame.index, frame.clock_s, box, crop, points)

    def _filled(self, track_id: int, points: Points) -> Points:
        """Points with the last ones of the person, else the mean shape, where none were found."""
        before = self._last_points.get(track_id, faces_landmarks.lost())
        filled: Points = fill_missing(np.stack([before, points]), self._spec.size)[1].astype(np.float32)
        self._last_points = {face.track_id: self._last_points.get(face.track_id, before) for face in self.faces}
        self._last_points[track_id] = filled
        return filled


class SteadyClock:
    """Times that only go forward, at the pace of those given.

    A stamp that goes back by more than a shuffle is a clock that was set: time goes on by one usual interval, and the
    offset stays. A gap forward is a gap.
    """

    def __init__(self) -> None:
        self._offset = 0.0
        self._last_s: float | None = None
        self._interval_s = _NOMINAL_S

    def steady(self, time_s: float) -> float:
        """The time to use for a frame that is stamped ``time_s``."""
        last, moved = self._last_s, time_s + self._offset
        if last is not None:
            step = moved - last
            if step < -_SHUFFLE_S:
                _LOG.warning("the clock of the frames went back by %.3f s; time goes on without it", -step)
                moved = last + self._interval_s
                self._offset = moved - time_s
            elif step <= 0:
                moved = last + 1e-3
            elif step < 1.0:
                self._interval_s += 0.1 * (step - self._interval_s)
        self._last_s = moved
        return moved
