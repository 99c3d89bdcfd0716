"""Samples through the real flow of a `Recognizer`, on one engine and precision after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput, NoFaceFound
from dfer_edge.evaluation.data import DataSet, Sample
from dfer_edge.evaluation.jitter import Jitter, MovableDetector
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources import open_source

Progress = Callable[[int, int | None], None]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Column:
    """What one engine at one precision said.

    Attributes
    ----------
    info
        ``Recognizer.info()``.
    scored
        Samples that have a prediction, in the order of the data set.
    probabilities
        [N, K] of these samples, with boxes that did not move.
    jittered
        [N, draws, K] with moved boxes; None if it was not asked for.
    no_face
        Names of samples in which no face was found.
    unreadable
        Name of a sample -> why it does not read.
    engine_ms
        Median time of the engine a sample; a measurement only on a quiet machine.
    name
        ``engine/precision``, more where that does not tell columns apart.
    """

    info: dict[str, Any]
    scored: tuple[Sample, ...]
    probabilities: Floats
    jittered: Floats | None
    no_face: tuple[str, ...]
    unreadable: dict[str, str]
    engine_ms: float
    name: str

    def of(self, names: Sequence[str]) -> Column:
        """The same for some of the samples, by name."""
        wanted = set(names)
        kept = [index for index, sample in enumerate(self.scored) if sample.name in wanted]
        jittered = None if self.jittered is None else self.jittered[kept]
        scored = tuple(self.scored[index] for index in kept)
        return dataclasses.replace(self, scored=scored, probabilities=self.probabilities[kept], jittered=jittered)


def source_of(sample: Sample, frames: int) -> Any:
    """What `Recognizer.predict` gets: the path, or a still as a clip of ``frames`` equal frames, or given frames.

    Raises
    ------
    InvalidInput
        If the still or the clip does not decode.
    """
    if sample.frames is not None:
        return sample.frames(frames)
    if not sample.is_still:
        return sample.path
    (still,) = (frame.image for frame in open_source(sample.path))
    return [still] * frames


def score(
    recognizer: Recognizer,
    detector: MovableDetector,
    data: DataSet,
    jitter: Jitter | None = None,
    faces: str = "detect",
    progress: Progress | None = None,
) -> Column:
    """Predictions of a whole data set.

    Parameters
    ----------
    recognizer
        Made with ``detector``, which moves its boxes for ``jitter``.
    detector, data, jitter
        See there.
    faces
        As in :meth:`dfer_edge.Recognizer.predict`.
    progress
        Called with samples done and samples in all.

    Raises
    ------
    InvalidInput
        If no sample has a prediction: the message counts why. Or for jitter of faces that are cropped already.
    """
    if jitter and faces == "cropped":
        raise InvalidInput("expected faces that are detected to jitter their boxes, got cropped ones")
    scored, own, moved, times = [], [], [], []
    no_face: list[str] = []
    unreadable: dict[str, str] = {}
    for done, sample in enumerate(data.samples, start=1):
        try:
            source = source_of(sample, recognizer.spec.frames)
            prediction = recognizer.predict(source, faces)
            moved.append(_moved(recognizer, detector, source, jitter.moves(sample.name)) if jitter else [])
        except NoFaceFound:
            no_face.append(sample.name)
        except InvalidInput as error:
            # The name alone: a report that is passed on tells nothing of this machine's folders.
            unreadable[sample.name] = _without_folder(error.message, sample)
        else:
            scored.append(sample)
            own.append(prediction.probabilities)
            times.append(prediction.timings_ms["engine"])
        if progress:
            progress(done, len(data.samples))
    if not scored:
        first = f", first: {next(iter(unreadable.values()))}" if unreadable else ""
        counts = f"no face in {len(no_face)}, {len(unreadable)} unreadable"
        raise InvalidInput(f"expected a prediction for one of {len(data.samples)} samples, got none: {counts}{first}")
    info = recognizer.info()
    return Column(
        info=info,
        scored=tuple(scored),
        probabilities=np.asarray(own, np.float64),
        jittered=np.asarray(moved, np.float64) if jitter else None,
        no_face=tuple(no_face),
        unreadable=unreadable,
        engine_ms=float(np.median(times)),
        name=f"{info['engine']}/{info['precision']}",
    )


def _without_folder(message: str, sample: Sample) -> str:
    return message if sample.frames else message.replace(str(sample.path), sample.name)


def _moved(recognizer: Recognizer, detector: MovableDetector, source: Any, moves: Sequence[Any]) -> list[Any]:
    found = []
    try:
        for move in moves:
            detector.move = move
            found.append(recognizer.predict(source).probabilities)
    finally:
        detector.move = None
    return found


def together(columns: Sequence[Column]) -> list[Column]:
    """Columns restricted to the samples that all of them scored: figures side by side are of the same samples."""
    shared = set.intersection(*({sample.name for sample in column.scored} for column in columns))
    if not shared:
        raise InvalidInput(f"expected samples that all of {', '.join(c.name for c in columns)} scored, got none")
    return [column.of(sorted(shared)) for column in columns]
