"""The flow, composed: frames -> tracked faces -> windows of clips. Nothing else knows the order.

Memory is bounded by two windows of face crops per person, whatever the length and resolution of the source; where all
is one window, by :data:`MOST_A_FRAME` crops for each frame of a clip.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.flow import preprocess
from dfer_edge.flow.clips import FloatArray, look, positions, towards_apex, uniform_in_time
from dfer_edge.flow.preprocess import Region
from dfer_edge.inference.keypoint_graph import fill_missing
from dfer_edge.sources.frames import Source
from dfer_edge.spec import ModelSpec
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Box, Clip, Frame, Image, Points, TrackedFace

# A face seen in a smaller share of a window than this, against the face seen longest, is a flicker of the detector.
_LEAST_SEEN = 0.2
# What is left of a source after its last whole window is dropped below this share of a window.
_LEAST_TAIL = 0.25
# Where all is one window: crops of a person that are kept for each frame of the clip to come. Above it every second one
# goes: at a constant frame rate the frame that is sampled lies within a 32nd of a segment of the exact one.
MOST_A_FRAME = 64


class Tracker(Protocol):
    """Gives frames their faces: :class:`~dfer_edge.faces.FaceFollower` or :class:`WholeFrame`."""

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """Every frame with its faces, in order."""
        ...


class WholeFrame:
    """The tracker of frames that are face crops already: one person, the whole frame.

    Parameters
    ----------
    landmarks
        Finds the points of each frame, for who reads them; None to find none.
    margin
        That the crops were made with, of their face boxes.
    """

    def __init__(self, landmarks: LandmarkDetector | None = None, margin: float = 1.0) -> None:
        self._landmarks, self._margin = landmarks, margin

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """Every frame with one face."""
        for frame in frames:
            height, width = frame.image.shape[:2]
            box = Box(0, 0, width, height)
            points = None
            if self._landmarks is not None:
                points = faces_landmarks.find(self._landmarks, frame.image, preprocess.square(box, 1 / self._margin))
            yield frame, (TrackedFace(0, box, points),)


@dataclasses.dataclass(frozen=True)
class WindowPlan:
    """How a source with a clock is cut: ``window_s`` long, one every ``hop_s``; one window of all if infinite.

    ``longest_only``: if all is one window, only the person seen longest gets a clip; spares the others' inference.
    """

    window_s: float
    hop_s: float
    longest_only: bool = False


@dataclasses.dataclass(frozen=True)
class Window:
    """One stretch of time and what each person did in it.

    Attributes
    ----------
    start_s, end_s
        Its bounds.
    frame_index
        Its last frame.
    clips
        By track.
    seen
        Frames of the window in which each person was seen.
    """

    start_s: float
    end_s: float
    frame_index: int
    clips: dict[int, Clip]
    seen: dict[int, int]


@dataclasses.dataclass
class _Seen:
    """A face in one frame; ``pixels`` is the crop of ``region``, or the frame itself where that stays in memory anyway.

    ``points`` [68, 2] are in crop pixels, NaN where the landmark detector found none, None where nobody looked.
    ``look`` is of the crop, where the network's sampling asked for it.
    """

    index: int
    time_s: float
    box: Box
    region: Box | Region
    pixels: Image
    points: Points | None
    look: FloatArray | None = None


class Windower:
    """Collects faces and cuts windows.

    Parameters
    ----------
    spec
        Of the network that will see the clips.
    plan
        How to cut.
    watch
        Gets the stages ``decode``, ``detect`` (with tracking) and ``preprocess``.
    cropped
        Frames are face crops.
    landmarks
        float32 [frames, 68, 2] in pixels of the frames, or None.
    landmark_detector
        Finds them if they are not given; run on the crops of the frames that get into a clip only, once each. On
        the 112-pixel crop points lie 0.008 of the distance between the eyes from where they lie on the whole frame, a
        tenth of what two public networks differ by: no second, larger crop is kept.
    """

    def __init__(
        self,
        spec: ModelSpec,
        plan: WindowPlan,
        watch: Stopwatch,
        cropped: bool = False,
        landmarks: Points | None = None,
        landmark_detector: LandmarkDetector | None = None,
    ) -> None:
        self._spec, self._plan, self._watch = spec, plan, watch
        self._cropped, self._landmarks, self._landmark_detector = cropped, landmarks, landmark_detector
        self._last_points: dict[int, Points] = {}
        self._people: dict[int, deque[_Seen]] = {}
        self._thinned: dict[int, int] = {}  # where all is one window: frames of each person, also of those that went
        self._lazy = self._has_clock = self._thins = False

    def windows(self, source: Source, tracker: Tracker) -> Iterator[Window]:
        """Windows of the source in order; one of everything for a source that is a clip."""
        self._lazy, self._has_clock = source.in_memory, not source.is_clip
        end_s = float("inf") if source.is_clip else self._plan.window_s
        # Frames that are in memory anyway are only referred to.
        self._thins = end_s == float("inf") and not self._lazy
        cut_s, last = 0.0, None
        for frame, faces in self._tracked(source, tracker):
            time_s = frame.clock_s
            while time_s >= end_s:
                yield self._window(end_s - self._plan.window_s, end_s, last or frame)
                cut_s, end_s = end_s, end_s + self._plan.hop_s
                self._forget(cut_s - self._plan.window_s)
                if not self._people:
                    # Work in proportion to frames, not to a number in the file: nobody is in the rest of the gap.
                    empty = max(0, math.floor((time_s - end_s) / self._plan.hop_s)) * self._plan.hop_s
                    cut_s, end_s = cut_s + empty, end_s + empty
            with self._watch.stage("preprocess"):
                self._add(frame, time_s, faces)
            last = frame
        if last is None:
            return
        if self._landmarks is not None and len(self._landmarks) != last.index + 1:
            raise InvalidInput(f"expected landmarks for {last.index + 1} frames, got {len(self._landmarks)}")
        finish_s = last.clock_s
        if not cut_s or finish_s - cut_s >= _LEAST_TAIL * self._plan.window_s:
            length = float("inf") if source.is_clip else self._plan.window_s
            yield self._window(max(0.0, finish_s - length), finish_s, last, is_only=not cut_s)

    def _tracked(self, source: Source, tracker: Tracker) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        # Decoding happens inside the tracker's step; the watch counts it once, as decoding.
        return self._watch.each("detect", tracker.track(self._watch.each("decode", source)))

    def _add(self, frame: Frame, time_s: float, faces: Sequence[TrackedFace]) -> None:
        for face in faces:
            region = self._region(face)
            points = None if self._landmarks is None else self._given(self._landmarks, frame, region)
            if self._thins and not self._makes_room(face.track_id):
                continue
            pixels = frame.image if self._lazy else self._crop(frame.image, region)
            seen = _Seen(frame.index, time_s, face.box, region, pixels, points)
            self._people.setdefault(face.track_id, deque()).append(seen)

    def _makes_room(self, track_id: int) -> bool:
        """Whether the next frame of a person is kept, of all one in a power of two; drops every second if too many."""
        number = self._thinned.get(track_id, 0)
        self._thinned[track_id] = number + 1
        most = MOST_A_FRAME * self._spec.frames
        every = 1 << (number // most).bit_length()
        if every > 1 and 2 * number == most * every:
            self._people[track_id] = deque(list(self._people[track_id])[::2])
        return number % every == 0

    def _crop(self, image: Image, region: Box | Region) -> Image:
        return preprocess.cut(image, region, self._spec.size)

    def _given(self, landmarks: Points, frame: Frame, region: Box | Region) -> Points:
        if frame.index >= len(landmarks):
            raise InvalidInput(f"expected landmarks for every frame, got {len(landmarks)} and a frame {frame.index}")
        points = landmarks[frame.index]
        height, width = frame.image.shape[:2]
        if not ((points >= 0) & (points < (width, height))).all(1).any():
            raise InvalidInput(
                f"expected landmarks in pixels of the {width}x{height} frame {frame.index}, all lie outside"
            )
        return preprocess.points_in_crop(points, region, self._spec.size)

    def _region(self, face: TrackedFace) -> Box | Region:
        return preprocess.region(face.box, self._spec, self._cropped, face.landmarks)

    def _points(self, track_id: int, chosen: Sequence[_Seen], crops: Sequence[Image]) -> Points | None:
        """Landmarks [T, 68, 2] in crop pixels; gaps repeat the last ones of the track, before that the mean shape."""
        for seen, crop in zip(chosen, crops, strict=True):
            if seen.points is None and self._landmark_detector is not None:
                seen.points = self._find(self._landmark_detector, crop, seen)
        known = [s.points for s in chosen if s.points is not None]
        if not known:
            return None
        before = self._last_points.get(track_id, faces_landmarks.lost())
        points: Points = fill_missing(np.stack([before, *known]), self._spec.size)[1:].astype(np.float32)
        self._last_points[track_id] = points[-1]
        return points

    def _find(self, detector: LandmarkDetector, crop: Image, seen: _Seen) -> Points:
        if self._cropped:
            inside = preprocess.inside_crop(self._spec)
        else:
            inside = preprocess.box_in_crop(seen.box, seen.region, self._spec.size)
        with self._watch.stage("landmarks"):
            return faces_landmarks.find(detector, crop, inside)

    def _forget(self, before_s: float) -> None:
        for track_id, seen in list(self._people.items()):
            while seen and seen[0].time_s < before_s:
                seen.popleft()
            if not seen:
                del self._people[track_id]
                self._last_points.pop(track_id, None)

    def _window(self, start_s: float, end_s: float, last: Frame, is_only: bool = False) -> Window:
        inside = {
            track_id: [s for s in seen if start_s <= s.time_s <= end_s] for track_id, seen in self._people.items()
        }
        counts = {track_id: self._thinned.get(track_id, len(seen)) for track_id, seen in inside.items()}
        longest = max(counts.values(), default=0)
        kept = {k: seen for k, seen in inside.items() if seen and counts[k] >= _LEAST_SEEN * longest}
        with self._watch.stage("preprocess"):
            wanted = list(kept)
            if is_only and kept and self._plan.longest_only:
                wanted = [max(kept, key=lambda track_id: (counts[track_id], kept[track_id][0].box.area))]
            clips = {key: self._clip(key, self._sampled(key, kept[key])) for key in wanted}
        return Window(start_s, end_s, last.index, clips, {track_id: counts[track_id] for track_id in kept})

    def _sampled(self, track_id: int, inside: Sequence[_Seen]) -> list[_Seen]:
        """The frames that make a clip, of those in which a person was seen ``inside`` a window."""
        places = self._places(track_id, inside)
        if self._spec.sampling == "apex":
            places = towards_apex(places, [self._look(seen) for seen in inside])
        return [inside[place] for place in places]

    def _places(self, track_id: int, inside: Sequence[_Seen]) -> list[int]:
        # Without a clock times are nominal and gaps mean nothing: sample by position. Who came or went in the window is
        # sampled over the time that they were there.
        if self._has_clock and self._spec.sampling in ("uniform", "apex"):
            return uniform_in_time([s.time_s for s in inside], self._spec.frames)
        # Of a person of whom every second crop went, one in ``every`` is still there.
        length = max(self._thinned.get(track_id, 0), len(inside))
        every = -(-length // len(inside))
        return [min(place // every, len(inside) - 1) for place in positions(length, self._spec)]

    def _look(self, seen: _Seen) -> FloatArray:
        """Of the crop that the network would see: the same for files and for arrays."""
        if seen.look is None:
            seen.look = look(self._crop(seen.pixels, seen.region) if self._lazy else seen.pixels)
        return seen.look

    def _clip(self, track_id: int, chosen: Sequence[_Seen]) -> Clip:
        crops = [self._crop(s.pixels, s.region) if self._lazy else s.pixels for s in chosen]
        return Clip(
            frames=np.stack(crops),
            frame_indices=tuple(s.index for s in chosen),
            box=chosen[len(chosen) // 2].box,
            landmarks=self._points(track_id, chosen, crops),
        )
