"""Samples through the real flow of a `Recognizer`, on one engine and precision after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput, NoFaceFound
from dfer_edge.evaluation.data import DataSet, Sample
from dfer_edge.evaluation.jitter import Jitter, MovableDetector
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.opening import open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.samples import ClipSource
from dfer_edge.types import Clip, Faces, Prediction

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
    lost
        Samples in which no face was found.
    cropped
        How many of the samples with a prediction were taken for face crops.
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
    unreadable: dict[str, str]
    engine_ms: float
    name: str
    lost: tuple[Sample, ...] = ()
    cropped: int = 0

    def of(self, names: Sequence[str]) -> Column:
        """The same for some of the samples, by name."""
        wanted = set(names)
        kept = [index for index, sample in enumerate(self.scored) if sample.name in wanted]
        jittered = None if self.jittered is None else self.jittered[kept]
        scored = tuple(self.scored[index] for index in kept)
        return dataclasses.replace(self, scored=scored, probabilities=self.probabilities[kept], jittered=jittered)


def source_of(sample: Sample, spec: ModelSpec, faces: str) -> ClipSource:
    """What `Recognizer.predict` gets: the path, or a still as a clip of equal frames, or a data set's clip.

    Parameters
    ----------
    sample, spec
        What of, and for which network; landmarks of a data set are left out where the network has no use for them.
    faces
        ``"detect"``, ``"cropped"``, or ``"auto"``: cropped where the data set says so.

    Raises
    ------
    InvalidInput
        If the still or the clip does not decode.
    """
    if sample.given is not None:
        found = sample.given()
        cropped = found.cropped if faces == "auto" else faces == "cropped"
        useful = spec.landmarks or (cropped and spec.face_box == "landmarks")
        return ClipSource(found.source, cropped, found.landmarks if useful else None)
    if not sample.is_still:
        return ClipSource(sample.path, faces == "cropped")
    frames = [frame.image for frame in open_source(sample.path)]
    # Pages and animations are clips whatever their name says.
    return ClipSource(frames * spec.frames if len(frames) == 1 else sample.path, faces == "cropped")


def clip_of(recognizer: Recognizer, sample: Sample, faces: str) -> Clip:
    """What the network sees of a sample; errors as :func:`source_of` and :meth:`Recognizer.clip`."""
    found = source_of(sample, recognizer.spec, faces)
    return recognizer.clip(found.source, "cropped" if found.cropped else "detect", found.landmarks)


def prediction_of(recognizer: Recognizer, sample: Sample, found: ClipSource) -> Prediction:
    """What the network says of what :func:`source_of`, or less of it; errors as :meth:`Recognizer.predict`."""
    faces: Faces = "cropped" if found.cropped else "detect"
    if found.landmarks is not None:
        return recognizer.predict(found.source, faces, found.landmarks)
    if sample.given is not None and isinstance(found.source, Path):
        # A clip of a data set is one clip, however long: no mean over windows.
        return recognizer.predict_batch([found.source], faces)[0]
    return recognizer.predict(found.source, faces)


def score(
    recognizer: Recognizer,
    detector: MovableDetector,
    data: DataSet,
    jitter: Jitter | None = None,
    faces: str = "auto",
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
        As :func:`source_of` takes it.
    progress
        Called with samples done and samples in all.

    Raises
    ------
    InvalidInput
        If no sample has a prediction: the message counts why. Or for jitter of faces that are cropped already.
    """
    scored, own, moved, times = [], [], [], []
    lost: list[Sample] = []
    cropped = 0
    unreadable: dict[str, str] = {}
    for done, sample in enumerate(data.samples, start=1):
        try:
            source = source_of(sample, recognizer.spec, faces)
            if jitter:
                _require_detected(source)
            prediction = prediction_of(recognizer, sample, source)
            moved.append(_moved(recognizer, detector, source.source, jitter.moves(sample.name)) if jitter else [])
        except NoFaceFound:
            lost.append(sample)
        except _CroppedJitter:
            raise
        except InvalidInput as error:
            # The name alone: a report that is passed on tells nothing of this machine's folders.
            unreadable[sample.name] = _without_folder(error.message, sample)
        else:
            scored.append(sample)
            cropped += source.cropped
            own.append(prediction.probabilities)
            times.append(prediction.timings_ms["engine"])
        if progress:
            progress(done, len(data.samples))
    if not scored:
        first = f", first: {next(iter(unreadable.values()))}" if unreadable else ""
        counts = f"no face in {len(lost)}, {len(unreadable)} unreadable"
        raise InvalidInput(f"expected a prediction for one of {len(data.samples)} samples, got none: {counts}{first}")
    info = recognizer.info()
    return Column(
        info=info,
        scored=tuple(scored),
        probabilities=np.asarray(own, np.float64),
        jittered=np.asarray(moved, np.float64) if jitter else None,
        lost=tuple(lost),
        cropped=cropped,
        unreadable=unreadable,
        engine_ms=float(np.median(times)),
        name=f"{info['engine']}/{info['precision']}",
    )


class _CroppedJitter(InvalidInput):
    pass


def _require_detected(source: ClipSource) -> None:
    if source.cropped:
        raise _CroppedJitter("expected faces that are detected to jitter their boxes, got cropped ones")


def _without_folder(message: str, sample: Sample) -> str:
    return message if sample.given else message.replace(str(sample.path), sample.name)


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
