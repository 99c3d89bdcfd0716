"""The data between the arrows of the flow: sources -> faces -> clips -> engine -> sinks.

Frozen and plain. Pixels are uint8 RGB, height x width x 3; boxes and points are in pixels of the source frame, x to the
right and y down; times are seconds since the first frame.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dfer_edge._values import Value, data_frame, html_bars, html_table, ranked

if TYPE_CHECKING:
    import pandas as pd

Faces = Literal["detect", "cropped"]

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]

# Frames a second of sources without a clock.
NOMINAL_RATE = 25.0


class Box(NamedTuple):
    """Rectangle in pixels: ``left <= x < right``, ``top <= y < bottom``; may reach over the frame's edge."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(width, 0.0) * max(height, 0.0)
        return shared / (self.area + other.area - shared) if shared else 0.0

    def rounded(self) -> tuple[int, int, int, int]:
        """Edges on whole pixels, at least one pixel each way: what a crop of this box holds."""
        left, top, right, bottom = (round(edge) for edge in self)
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def towards(self, other: Box, share: float) -> Box:
        """The box ``share`` (0 to 1) of the way to ``other``."""
        return Box(*(a + (b - a) * share for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Frame(Value):
    """One decoded frame.

    Attributes
    ----------
    image
        uint8 RGB [H, W, 3].
    index
        Position in decoding order, from 0.
    time_s
        Presentation time since the first frame; None for sources without a clock (arrays, image folders).
    """

    image: Image
    index: int
    time_s: float | None = None

    @property
    def clock_s(self) -> float:
        """``time_s``, or the time at 25 frames a second for sources without a clock."""
        return self.index / NOMINAL_RATE if self.time_s is None else self.time_s


@dataclasses.dataclass(frozen=True)
class Detection:
    """A face in one frame: box around brows, ears and chin, score 0 to 1.

    Attributes
    ----------
    points
        Of detectors that find them: middles of the eyes, tip of the nose, corners of the mouth; of each pair the one on
        the subject's right first. Pixels x, y, centres at whole numbers.
    """

    box: Box
    score: float
    points: tuple[tuple[float, float], ...] | None = None

    @property
    def roll_deg(self) -> float | None:
        """How far the head is turned clockwise in the image, -180 to 180; None without points."""
        if self.points is None:
            return None
        (x0, y0), (x1, y1) = self.points[:2]
        return math.degrees(math.atan2(y1 - y0, x1 - x0))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrackedFace(Value):
    """A face with the identity that the follower gave it.

    Attributes
    ----------
    track_id
        From 0, in order of appearance.
    box
        As the network wants it.
    landmarks
        float32 [68, 2] in pixels of the frame, pixel centres at integers; None where nobody looked or none were seen.
    score
        0 to 1: how much it is a face.
    """

    track_id: int
    box: Box
    landmarks: Points | None = None
    score: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FaceTrack(Value):
    """One person over time.

    Attributes
    ----------
    track_id
        From 0, in order of appearance.
    frame_indices
        int32 [N], ascending; frames in which the face was missed are absent.
    boxes
        float32 [N, 4]: left, top, right, bottom.
    """

    track_id: int
    frame_indices: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Clip(Value):
    """What a network sees of one person in one window.

    Attributes
    ----------
    frames
        uint8 RGB [T, S, S, 3]: square face crops of the network's size.
    frame_indices
        Of the T sampled frames in the source; short clips repeat frames.
    box
        Face box in the middle sampled frame.
    landmarks
        float32 [T, 68, 2] in crop pixels, or None.
    """

    frames: Image
    frame_indices: tuple[int, ...]
    box: Box
    landmarks: Points | None = None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Signals(Value):
    """What a face does, beside what that is called: from its landmarks alone, means over the frames of a window.

    Attributes
    ----------
    units
        Intensity of FACS action units by name (``AU1``, ``AU12``, ...), 0 (not there, or as in this person's resting
        face) to 1 (the strongest that the face model has).
    intensity
        Of the whole expression, 0 to 1; 1 is two units at full intensity.
    valence
        -1 (unpleasant) to 1 (pleasant), 0 for a resting face; by the rule in :mod:`dfer_edge.signals.affect`.
    arousal
        -1 (eyes closed) to 1 (wide open eyes and mouth), 0 for a resting face; by the same rule.
    frames
        How many were looked at.
    """

    units: Mapping[str, float]
    intensity: float
    valence: float
    arousal: float
    frames: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {**dataclasses.asdict(self), "units": dict(self.units)}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Prediction(Value):
    """What a face expresses in a clip, or over several windows.

    Attributes
    ----------
    label, confidence
        The most probable class and its probability; the label is ``"unknown"`` where that is too little for the risk
        that the recogniser was made with.
    labels
        All class names.
    probabilities
        float32 [K], sums to 1, in the order of ``labels``.
    frame_indices
        Frames that the network saw, of all windows.
    box
        Face box (left, top, right, bottom) in pixels, in the middle of the clip.
    timings_ms
        Milliseconds by stage (decode, detect, preprocess, landmarks, signals, engine) and ``total``: of the whole call,
        in an observation since the window before. All clips of a window or a batch share them. Landmarks that lay the
        face box count as detect, those that the network takes as landmarks.
    weights
        ``{"name": ..., "sha256": ...}``; the name ``random`` means that the label is meaningless.
    signals
        With ``Recognizer(..., signals=True)``: action units, intensity, valence and arousal; else None, and None where
        no frame had landmarks.
    """

    label: str
    confidence: float
    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    frame_indices: tuple[int, ...]
    box: Box
    timings_ms: Mapping[str, float]
    weights: Mapping[str, str]
    signals: Signals | None = None

    def __repr__(self) -> str:
        doubt = f"{self.label}; " if self.label not in self.labels else ""
        return f"Prediction({doubt}{ranked(self.labels, self.probabilities, 3)}; weights {self.weights['name']})"

    def _repr_html_(self) -> str:
        return html_bars(self.labels, self.probabilities)

    def to_pandas(self) -> pd.DataFrame:
        """One row: label, confidence, weights, probability by class."""
        row = [self.label, self.confidence, self.weights["name"], *map(float, self.probabilities)]
        return data_frame(["label", "confidence", "weights", *self.labels], [row])

    @property
    def scores(self) -> dict[str, float]:
        """Probability by class name."""
        return dict(zip(self.labels, map(float, self.probabilities), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; ``signals`` is there only if asked for."""
        more = {} if self.signals is None else {"signals": self.signals.to_dict()}
        return {
            "label": self.label,
            "confidence": self.confidence,
            "labels": list(self.labels),
            "probabilities": [float(p) for p in self.probabilities],
            "scores": self.scores,
            "frame_indices": list(self.frame_indices),
            "box": [float(edge) for edge in self.box],
            "timings_ms": dict(self.timings_ms),
            "weights": dict(self.weights),
            **more,
        }


NO_FACE = "no face"
"""The label of an observation in which nobody is seen."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Observation(Value):
    """A prediction for one person at one moment; or, from a stream, that nobody is there.

    Attributes
    ----------
    time_s, frame_index
        End of the window: its last frame. ``time_s`` counts frames at 25 a second where the source has no clock.
    track_id, box
        Who, and where: from a stream in the newest frame, else in the middle of the window. Where nobody is, -1 and an
        empty box.
    prediction
        Over the window; from a stream after smoothing. Where nobody is, :data:`NO_FACE` with confidence 0 and equal
        probabilities.
    start_s
        Time of the oldest frame of the window: begin of the window where the person was there all along.
    source
        Of a stream: name of the source, without credentials.
    captured_s
        Of a stream: Unix time at which the newest frame was captured, on a clock that never jumps.
    age_ms
        Of a stream: milliseconds from the capture of the newest frame to this observation.
    raw
        Of a stream: the prediction before smoothing, "unknown" and personal baseline.
    event
        Of a stream: ``onset``, ``apex`` or ``offset`` of an expression, ``lost`` or ``restored`` of a source, or None.
    seen
        Share (0 to 1) of the frames of the last ``window`` seconds in which the person was seen.
    frame, landmarks
        Of a stream: the newest frame, uint8 RGB [H, W, 3], on request; its landmarks, float32 [68, 2] in its pixels,
        where they were looked for.
    """

    time_s: float
    frame_index: int
    track_id: int
    box: Box
    prediction: Prediction
    start_s: float = 0.0
    source: str = ""
    captured_s: float | None = None
    age_ms: float | None = None
    raw: Prediction | None = None
    event: str | None = None
    seen: float | None = None
    frame: Image | None = dataclasses.field(default=None, repr=False)
    landmarks: Points | None = dataclasses.field(default=None, repr=False)

    def __repr__(self) -> str:
        who = f"person {self.track_id}: {self.prediction.label} {self.prediction.confidence:.2f}"
        event = f", {self.event}" if self.event else ""
        return f"Observation({self.time_s:.2f} s, {who if self.has_face else NO_FACE}{event})"

    @property
    def has_face(self) -> bool:
        """Whether somebody is seen."""
        return self.track_id >= 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; without the frame."""
        return {
            "start_s": self.start_s,
            "time_s": self.time_s,
            "frame_index": self.frame_index,
            "track_id": self.track_id,
            "box": [float(edge) for edge in self.box],
            "prediction": self.prediction.to_dict(),
            "source": self.source,
            "captured_s": self.captured_s,
            "age_ms": self.age_ms,
            "raw": self.raw.to_dict() if self.raw else None,
            "event": self.event,
            "seen": self.seen,
            "landmarks": None if self.landmarks is None else self.landmarks.tolist(),
        }


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Timeline(Value):
    """A whole source: the summary for the person seen longest, and every window of everyone.

    Attributes
    ----------
    prediction
        Mean over the windows of ``primary_track``, weighted by the frames in which the face was seen.
    primary_track
        ``track_id`` of the person with the longest track.
    observations
        In order of time; of all persons.
    tracks
        Where each person was.
    frame_count, duration_s
        Decoded, not declared by the header.
    frames_lost
        Frames that the file has and that did not decode: they are in nothing else.
    """

    prediction: Prediction
    primary_track: int
    observations: tuple[Observation, ...]
    tracks: tuple[FaceTrack, ...]
    frame_count: int
    duration_s: float
    frames_lost: int = 0

    def __repr__(self) -> str:
        p, counts = self.prediction, f"{self.frame_count} frames, {len(self.observations)} windows"
        who = f"person {self.primary_track} of {len(self.tracks)}: {p.label} {p.confidence:.2f}"
        return f"Timeline({self.duration_s:.1f} s, {counts}; {who})"

    def _repr_html_(self) -> str:
        rows = [
            (f"{o.start_s:.1f} - {o.time_s:.1f}", o.track_id, o.prediction.label, f"{o.prediction.confidence:.2f}")
            for o in self.observations
        ]
        return html_table(repr(self)[9:-1], ("time, s", "person", "label", "confidence"), rows)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Columns, and a row a window and person: its bounds, who, label, box, weights, probability by class.

        Where there are signals, then intensity, valence, arousal and each action unit; None in windows without.
        """
        units = next((list(o.prediction.signals.units) for o in self.observations if o.prediction.signals), None)
        more = [] if units is None else ["intensity", "valence", "arousal", *units]
        columns = ["start_s", "end_s", "track_id", "label", "confidence", *Box._fields, "weights"]
        rows = []
        for o in self.observations:
            p, s = o.prediction, o.prediction.signals
            row = [o.start_s, o.time_s, o.track_id, p.label, p.confidence, *o.box, p.weights["name"]]
            values = [None] * len(more) if s is None else [s.intensity, s.valence, s.arousal, *s.units.values()]
            rows.append([*row, *map(float, p.probabilities), *values])
        return [*columns, *self.prediction.labels, *more], rows

    def to_pandas(self) -> pd.DataFrame:
        """:meth:`table` as a data frame; needs pandas."""
        return data_frame(*self.table())

    @property
    def primary(self) -> tuple[Observation, ...]:
        """Observations of the person seen longest."""
        return tuple(o for o in self.observations if o.track_id == self.primary_track)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; boxes of single frames are left out."""
        return {
            "prediction": self.prediction.to_dict(),
            "primary_track": self.primary_track,
            "people": {str(track.track_id): len(track) for track in self.tracks},
            "frame_count": self.frame_count,
            "duration_s": self.duration_s,
            "frames_lost": self.frames_lost,
            "observations": [observation.to_dict() for observation in self.observations],
        }
