"""Every sample through a `Recognizer`: what it says of the sample, and of a sequence's frames each for itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.studies.real_people.samples import Sample
from dfer_edge.errors import CorruptArtifact, NoFaceFound
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.opening import open_source

SCHEMA = "dfer_edge.real_people/1"
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Row:
    """One sample and what was said of it.

    Attributes
    ----------
    group, set, label, name
        As in :class:`bench.studies.real_people.samples.Sample`; ``name`` is that of the file.
    probabilities
        In the order of the run's labels; None if no face was found.
    frames
        Of a sequence: the mean over its sampled frames, each seen as a still; None for stills and where nobody looked.
    """

    group: str
    set: str
    label: str
    name: str
    probabilities: tuple[float, ...] | None
    frames: tuple[float, ...] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.set, self.label, self.name


@dataclasses.dataclass(frozen=True)
class Run:
    """What one network with one weights file on one engine said; or a peer.

    Attributes
    ----------
    name
        Heading of its column.
    labels
        Class names.
    rows
        By sample.
    provenance
        JSON-safe; no path of a machine in it.
    """

    name: str
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        rows = [
            {**dataclasses.asdict(row), "probabilities": _rounded(row.probabilities), "frames": _rounded(row.frames)}
            for row in self.rows
        ]
        return {"schema": SCHEMA, "name": self.name, "provenance": self.provenance, "labels": self.labels, "rows": rows}


def measure(
    recognizer: Recognizer, samples: Sequence[Sample], name: str, frames: bool = True, progress: Progress | None = None
) -> Run:
    """Run the samples.

    Parameters
    ----------
    recognizer
        Any network, weights, engine and detector.
    samples
        Of one or several folders.
    name
        Heading of the column.
    frames
        Also see the frames of sequences each for itself.
    progress
        Called with samples done and samples in all.

    Raises
    ------
    DferError
        As :meth:`dfer_edge.Recognizer.predict`, but for faces that are not found: those are rows without probabilities.
    """
    rows, times = [], []
    for done, sample in enumerate(samples, start=1):
        own: tuple[float, ...] | None = None
        single: tuple[float, ...] | None = None
        try:
            prediction = recognizer.predict(sample.path)
            own = tuple(map(float, prediction.probabilities))
            times.append(prediction.timings_ms["engine"])
            single = mean_of_frames(recognizer, sample.path) if frames and sample.is_sequence else None
        except NoFaceFound:
            pass
        rows.append(Row(sample.group, *sample.key, own, single))
        if progress:
            progress(done, len(samples))
    median = float(np.median(times)) if times else None
    return Run(name, tuple(recognizer.spec.labels), tuple(rows), {"engine_ms_median": median})


def mean_of_frames(recognizer: Recognizer, source: Any) -> tuple[float, ...]:
    """Over the frames that make the clip, each through the whole flow by itself; those without a face are left out."""
    wanted = Counter(recognizer.clip(source).frame_indices)
    scores = []
    opened = open_source(source)
    for frame in opened:
        with contextlib.suppress(NoFaceFound):
            if frame.index in wanted:
                scores += [recognizer.predict([frame.image]).probabilities] * wanted[frame.index]
    if not scores:
        raise NoFaceFound(f"no face in single frames of {opened.name}")
    return tuple(float(value) for value in np.stack(scores).astype(np.float64).mean(0))


def _rounded(probabilities: Sequence[float] | None) -> list[float] | None:
    return None if probabilities is None else [round(value, 6) for value in probabilities]


def read(path: str | Path) -> Run:
    """A run that was written before.

    Raises
    ------
    CorruptArtifact
        If the file is none.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.get("schema") != SCHEMA:
            raise ValueError(f"schema is {content.get('schema')!r}")
        rows = tuple(
            Row(**{**row, **{key: row[key] and tuple(row[key]) for key in ("probabilities", "frames")}})
            for row in content["rows"]
        )
        return Run(content["name"], tuple(content["labels"]), rows, content["provenance"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifact(f"expected a run of schema {SCHEMA!r} in {path}: {error}") from error
