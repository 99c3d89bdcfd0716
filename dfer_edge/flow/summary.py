"""From the windows of a whole source to one `Timeline`."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from dfer_edge.flow.pipeline import Tracker
from dfer_edge.flow.postprocess import to_prediction
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import FaceTrack, Frame, Observation, Prediction, Signals, Timeline, TrackedFace


class Recorder:
    """A tracker that also remembers where everyone was: 20 bytes a face and frame.

    Parameters
    ----------
    tracker
        The real one.
    progress
        Called with frames done and ``length_hint``.
    length_hint
        Frames that the source declares, or None.
    """

    def __init__(
        self, tracker: Tracker, progress: Callable[[int, int | None], None] | None, length_hint: int | None
    ) -> None:
        self._tracker, self._progress, self._hint = tracker, progress, length_hint
        self._frames: dict[int, array[int]] = {}
        self._boxes: dict[int, array[float]] = {}
        self.frame_count = 0
        self.duration_s = 0.0

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """As the real tracker."""
        for frame, faces in self._tracker.track(frames):
            self.frame_count += 1
            self.duration_s = frame.time_s or 0.0
            for face in faces:
                self._frames.setdefault(face.track_id, array("i")).append(frame.index)
                self._boxes.setdefault(face.track_id, array("f")).extend(face.box)
            if self._progress:
                self._progress(self.frame_count, self._hint)
            yield frame, faces

    def tracks(self) -> tuple[FaceTrack, ...]:
        """Everyone seen so far, in order of appearance."""
        return tuple(
            FaceTrack(
                track_id, np.asarray(indices, np.int32), np.asarray(self._boxes[track_id], np.float32).reshape(-1, 4)
            )
            for track_id, indices in sorted(self._frames.items())
        )


def summarise(
    observations: Sequence[Observation],
    seen: Sequence[int],
    recorder: Recorder,
    watch: Stopwatch,
    least: float = 0.0,
) -> Timeline:
    """The timeline of a source.

    Parameters
    ----------
    observations
        At least one.
    seen
        Frames in which the face was seen, by observation: the weight of its window in the mean.
    recorder, watch
        Of the run.
    least
        Confidence below which the label is unknown.
    """
    tracks = recorder.tracks()
    classified = {observation.track_id for observation in observations}
    primary = max((track for track in tracks if track.track_id in classified), key=_prominence).track_id
    own = [(o, weight) for o, weight in zip(observations, seen, strict=True) if o.track_id == primary]
    return Timeline(
        prediction=_mean([o.prediction for o, _ in own], [weight for _, weight in own], watch, least),
        primary_track=primary,
        observations=tuple(observations),
        tracks=tracks,
        frame_count=recorder.frame_count,
        duration_s=recorder.duration_s,
    )


def _prominence(track: FaceTrack) -> tuple[int, float]:
    sizes = (track.boxes[:, 2] - track.boxes[:, 0]) * (track.boxes[:, 3] - track.boxes[:, 1])
    return len(track), float(sizes.mean())


def _mean(predictions: Sequence[Prediction], weights: Sequence[int], watch: Stopwatch, least: float) -> Prediction:
    middle = predictions[len(predictions) // 2]
    probabilities = np.average([p.probabilities.astype(np.float64) for p in predictions], axis=0, weights=weights)
    indices = tuple(index for p in predictions for index in p.frame_indices)
    signals = _mean_signals([p.signals for p in predictions], weights)
    times = watch.milliseconds()
    return to_prediction(probabilities, middle.labels, indices, middle.box, times, middle.weights, signals, least)


def _mean_signals(signals: Sequence[Signals | None], weights: Sequence[int]) -> Signals | None:
    """Weighted as the probabilities are; windows without are left out."""
    known = [(one, weight) for one, weight in zip(signals, weights, strict=True) if one is not None]
    if not known:
        return None
    total = sum(weight for _, weight in known)
    units = {name: sum(one.units[name] * weight for one, weight in known) / total for name in known[0][0].units}
    intensity, valence, arousal = (
        sum(getattr(one, name) * weight for one, weight in known) / total
        for name in ("intensity", "valence", "arousal")
    )
    return Signals(units, intensity, valence, arousal, sum(one.frames for one, _ in known))
