"""The second stage of a stream: everyone that is due, of all sources, in one engine call."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dfer_edge.engines.base import FloatArray
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.flow.postprocess import to_prediction
from dfer_edge.live.frames import Captured, WallClock
from dfer_edge.live.history import Glimpse, History, Sampling, Step, frames_of
from dfer_edge.live.options import Options
from dfer_edge.live.scoring import Scorer
from dfer_edge.live.smoothing import Probabilities
from dfer_edge.live.steady import Steady
from dfer_edge.live.tracking import Look, Watching
from dfer_edge.spec import ModelSpec
from dfer_edge.types import NO_FACE, Box, Frame, Observation, Prediction

_NOWHERE = Box(0.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass
class Network:
    """What a stream needs of a recogniser.

    Attributes
    ----------
    spec, weights
        Of the network; ``weights`` as in every prediction.
    frames_per_step
        Frames whose features windows share; 1 where they share none.
    scorer
        Windows to logits; deadline mode may take another.
    probabilities
        Logits [B, K] to probabilities, with the temperature that came with the weights.
    least
        Confidence under which the label is unknown, unless the stream says otherwise.
    landmarks
        Finds the points of networks that take them.
    watching
        Makes what looks at one source, of ``detect`` or ``cropped`` frames.
    others
        Scorers in other precisions, loaded when asked for.
    """

    spec: ModelSpec
    weights: Mapping[str, str]
    frames_per_step: int
    scorer: Scorer
    probabilities: Callable[[FloatArray], Probabilities]
    least: float
    landmarks: LandmarkDetector | None
    watching: Callable[[str], Watching]
    others: Callable[[str], Scorer] | None = None


@dataclasses.dataclass
class _Person:
    history: History
    steady: Steady


class Observer:
    """Remembers everyone of all sources and says what they express. Not for several threads at once.

    Parameters
    ----------
    network, options
        Of the stream.
    clock
        Of its captures.

    Attributes
    ----------
    scorer
        In use.
    engine_ms
        Of the last call.
    """

    def __init__(self, network: Network, options: Options, clock: WallClock) -> None:
        self._network, self._options, self._clock = network, options, clock
        self._sampling = Sampling.of(network.spec, network.frames_per_step, options.window_s)
        self._people: dict[tuple[str, int], _Person] = {}
        self.scorer = network.scorer
        self.engine_ms = 0.0

    def __len__(self) -> int:
        """People that are remembered."""
        return len(self._people)

    def observe(self, looks: Mapping[str, Look]) -> list[Observation]:
        """Observations of the newest frames of sources, by name; none where a look is not due."""
        for source, look in looks.items():
            self._remember(source, look)
        due = [(source, look, track_id) for source, look in looks.items() if look.is_due for track_id in look.glimpses]
        windows = [self._people[source, track_id].history.window() for source, _, track_id in due]
        begin = time.perf_counter()
        scored = self.scorer.logits(windows) if windows else []
        self.engine_ms = (time.perf_counter() - begin) * 1e3
        found = [
            self._observation(source, look, track_id, window, logits)
            for (source, look, track_id), window, logits in zip(due, windows, scored, strict=True)
        ]
        if self._options.no_face:
            found += [self.nobody(s, look) for s, look in looks.items() if look.is_due and not look.glimpses]
        return found

    def nobody(self, source: str, look: Look) -> Observation:
        """The observation that nobody is there."""
        captured = look.captured
        prediction = self._nothing(self._timings(look, 0.0))
        return dataclasses.replace(
            _at(source, captured, self._clock), prediction=prediction, raw=prediction, seen=0.0, frame=self._image(look)
        )

    def notice(self, source: str, event: str, captured: Captured | None, at_s: float) -> Observation:
        """The observation that something happened to a source at a moment, after the frame that came last."""
        last = captured.frame if captured else Frame(np.zeros((0, 0, 3), np.uint8), 0, 0.0)
        nothing = self._nothing({})
        found = _at(source, Captured(last, at_s), self._clock)
        return dataclasses.replace(found, prediction=nothing, raw=nothing, event=event)

    def warm_up(self, scorer: Scorer | None = None) -> None:
        """One call of the engine, or of another scorer, on black crops: the first one of a process is slow."""
        size, sampling = self._network.spec.size, self._sampling
        points = faces_landmarks.lost() if self._network.spec.landmarks else None
        black = Glimpse(0, 0.0, _NOWHERE, np.zeros((size, size, 3), np.uint8), points)
        (scorer or self.scorer).logits([[Step((black,) * sampling.frames_per_step)] * sampling.steps])

    def forget(self, source: str) -> None:
        """Everyone of a source is gone."""
        self._people = {key: person for key, person in self._people.items() if key[0] != source}

    def _remember(self, source: str, look: Look) -> None:
        for track_id, glimpse in look.glimpses.items():
            person = self._people.get((source, track_id))
            if person is None:
                person = _Person(
                    History(self._sampling), Steady(self._options, self._network.spec.labels, self._network.least)
                )
                self._people[source, track_id] = person
            person.history.add(glimpse)
        oldest_s = look.captured.frame.clock_s - self._options.window_s
        gone = [key for key, person in self._people.items() if key[0] == source and person.history.last_s < oldest_s]
        for key in gone:
            del self._people[key]

    def _observation(
        self, source: str, look: Look, track_id: int, window: Sequence[Step], logits: FloatArray
    ) -> Observation:
        glimpses = frames_of(window)
        newest: Glimpse = glimpses[-1]
        # Image networks score frames; a clip's probabilities are their mean.
        probabilities: Probabilities = self._network.probabilities(np.atleast_2d(logits)).mean(0)
        raw = to_prediction(
            probabilities,
            self._network.spec.labels,
            tuple(glimpse.index for glimpse in glimpses),
            newest.box,
            self._timings(look, self.engine_ms),
            self._network.weights,
            look.signals.get(track_id),
        )
        steady, event = self._people[source, track_id].steady.update(raw, probabilities, newest.time_s)
        return dataclasses.replace(
            _at(source, look.captured, self._clock),
            track_id=track_id,
            box=newest.box,
            prediction=steady,
            start_s=glimpses[0].time_s,
            raw=raw,
            event=event,
            seen=look.seen.get(track_id, 0.0),
            frame=self._image(look),
            landmarks=look.points.get(track_id),
        )

    def _nothing(self, timings_ms: Mapping[str, float]) -> Prediction:
        labels = self._network.spec.labels
        even = np.full(len(labels), 1 / len(labels), np.float32)
        return Prediction(NO_FACE, 0.0, labels, even, (), _NOWHERE, timings_ms, self._network.weights)

    def _image(self, look: Look) -> np.ndarray | None:
        return look.captured.frame.image if self._options.frames else None

    def _timings(self, look: Look, engine_ms: float) -> dict[str, float]:
        age_ms = (self._clock.now() - look.captured.at_s) * 1e3
        stages = {name: ms for name, ms in look.timings_ms.items() if name != "total"}
        return {**stages, "engine": engine_ms, "total": max(age_ms, engine_ms + sum(stages.values()))}


def _at(source: str, captured: Captured, clock: WallClock) -> Observation:
    """An observation of nobody, stamped now."""
    frame = captured.frame
    age_ms = max(0.0, clock.now() - captured.at_s) * 1e3
    nothing: Prediction = None  # type: ignore[assignment] # replaced by every caller
    return Observation(
        frame.clock_s, frame.index, -1, _NOWHERE, nothing, frame.clock_s, source, clock.unix(captured.at_s), age_ms
    )
