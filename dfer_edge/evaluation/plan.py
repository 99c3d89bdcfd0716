"""A whole evaluation: which engines and precisions, what data, in one call."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.errors import EngineUnavailable, InvalidInput, PrecisionUnavailable
from dfer_edge.evaluation import timeline
from dfer_edge.evaluation.data import DataSet, read
from dfer_edge.evaluation.document import document
from dfer_edge.evaluation.jitter import Jitter, MovableDetector
from dfer_edge.evaluation.probes import by_level, by_start, training_form
from dfer_edge.evaluation.run import Column, clip_of, score
from dfer_edge.evaluation.timeline import Run
from dfer_edge.faces import Detector, make_detector
from dfer_edge.recognizer import Recognizer

Progress = Callable[[str, int, int | None], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes
    ----------
    model, device, detector, threads, landmark_detector
        As in :class:`dfer_edge.Recognizer`.
    faces
        As in :meth:`dfer_edge.Recognizer.predict`; ``"auto"`` takes for face crops what the layout of a data set says
        are some, and detects faces in the rest.
    weights
        As there, or several, e.g. a file in full and its compact form.
    data
        See :func:`dfer_edge.evaluation.data.read`.
    engines, precisions
        Every combination with the weights is a column; one that this machine has not is listed with the reason, or an
        error if it is the only one.
    classes
        Use samples of these only.
    fold
        Of a data set with several.
    jitter
        Also evaluate moved boxes.
    fit_on
        Another split, on which each column's temperature is fitted.
    prepared
        Folder where the faces found in files are kept, as for :class:`dfer_edge.Recognizer`; not with ``jitter``, which
        moves what is found.
    starts
        Shares of every clip's frames that are left out at its start, one evaluation each (paper 001's appearance bias).
    perturb
        Levels of 255 by which pixels move against the true class, one evaluation each (paper 002); needs torch.
    video, runs
        A video and its expected labels, see :mod:`dfer_edge.evaluation.timeline`.
    """

    model: str
    data: str | Path
    weights: str | Path | Sequence[str | Path] = "default"
    engines: Sequence[str] = ("auto",)
    precisions: Sequence[str] = ("auto",)
    device: str = "auto"
    detector: str | Path | Detector = "auto"
    threads: int | None = None
    landmark_detector: str | Path = "auto"
    faces: str = "auto"
    classes: Sequence[str] | None = None
    fold: int = 1
    jitter: Jitter | None = None
    fit_on: str | Path | None = None
    video: str | Path | None = None
    runs: Sequence[Run] = ()
    prepared: str | Path | None = None
    starts: Sequence[float] = ()
    perturb: Sequence[float] = ()

    @property
    def all_weights(self) -> tuple[str | Path, ...]:
        return (self.weights,) if isinstance(self.weights, (str, Path)) else tuple(self.weights)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes
    ----------
    plan
        What was asked for.
    content
        The JSON document, see :func:`dfer_edge.evaluation.document.document`.
    columns
        Predictions by engine and precision.
    data
        What they are of.
    recognizer, weights
        Of the first column.
    """

    plan: Plan
    content: dict[str, Any]
    columns: tuple[Column, ...]
    data: DataSet
    recognizer: Recognizer
    weights: str | Path


def evaluate(plan: Plan, progress: Progress | None = None) -> Evaluation:
    """Run every column over the data.

    Parameters
    ----------
    plan
        What to do.
    progress
        Called with what is running, samples done and samples in all.

    Raises
    ------
    DferError
        As :class:`dfer_edge.Recognizer` and :func:`dfer_edge.evaluation.data.read`; if no column can run, why the
        first cannot; if weights have different classes.
    """
    if plan.jitter is not None and plan.prepared is not None:
        raise InvalidInput("expected faces found anew for moved boxes, got a folder of prepared ones", "leave one out")
    run = _Run(plan, progress)
    combinations = list(itertools.product(plan.all_weights, plan.engines, plan.precisions))
    for combination in combinations:
        run.attempt(*combination, only=len(combinations) == 1)
    if run.data is None or run.first is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in run.unavailable.items())
        raise EngineUnavailable(f"expected an engine and precision that can run here, none can: {reasons}")
    content = document(run.columns, run.data, plan.jitter, run.fitted, run.split.name if run.split else "")
    content |= {"unavailable": run.unavailable, "timeline": run.videos, "probes": run.probes()}
    return Evaluation(plan, content, tuple(run.columns), run.data, run.first, run.weights)


class _Run:
    """What has been evaluated so far."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self._plan, self._progress = plan, progress
        self.columns: list[Column] = []
        self.fitted: list[Column] = []
        self.videos: list[dict[str, Any]] = []
        self.unavailable: dict[str, str] = {}
        self.data: DataSet | None = None
        self.split: DataSet | None = None
        self.first: Recognizer | None = None
        self.weights: str | Path = ""

    def attempt(self, weights: str | Path, engine: str, precision: str, only: bool) -> None:
        """Evaluate a column, or note why it cannot run; an error if it is the ``only`` one."""
        try:
            self._add(weights, engine, precision)
        except (EngineUnavailable, PrecisionUnavailable) as error:
            if only:
                raise
            name = f"{engine}/{precision}" + (f", {Path(weights).name}" if len(self._plan.all_weights) > 1 else "")
            self.unavailable[name] = error.message

    def _add(self, weights: str | Path, engine: str, precision: str) -> None:
        # Data sets are read with the labels of the first column.
        plan, detector = self._plan, MovableDetector(make_detector(self._plan.detector))
        marks = plan.landmark_detector
        names: tuple[Any, Any, Any, Any, Any] = (plan.model, weights, engine, precision, plan.device)  # checked there
        recognizer = Recognizer(*names, detector, plan.threads, landmark_detector=marks, prepared=plan.prepared)
        info, labels = recognizer.info(), recognizer.spec.labels
        name = f"{info['engine']}/{info['precision']}"
        name += f", {info['weights']['name']}" if len(plan.all_weights) > 1 else ""
        if name in {column.name for column in self.columns}:
            return  # what auto means here was asked for by name too
        if self.first is None:
            self.first, self.weights = recognizer, weights
        if labels != self.first.spec.labels:
            raise InvalidInput(f"expected weights with the classes {self.first.spec.labels}, got {labels} in {weights}")
        self.data = self.data or read(plan.data, labels, plan.classes, plan.fold)
        if plan.fit_on is not None and self.split is None:
            self.split = read(plan.fit_on, labels, plan.classes, plan.fold)
            _require_apart(self.data, self.split)
        self.columns.append(self._score(recognizer, detector, self.data, name, plan.jitter))
        if self.split is not None:
            self.fitted.append(self._score(recognizer, detector, self.split, name, None))
        if plan.video is not None:
            self.videos.append(timeline.check(recognizer, plan.video, plan.runs) | {"column": name})

    def probes(self) -> dict[str, Any]:
        """The experiments that were asked for, with the first column."""
        plan, first, column, found = self._plan, self.first, self.columns[0], dict[str, Any]()
        assert first is not None  # noqa: S101 - a column was made
        if plan.starts:
            found["starts"] = by_start(first, [*column.scored, *column.lost], plan.starts, plan.faces)
        if plan.perturb:
            module = training_form(first.spec, self.weights)
            clips = (clip_of(first, sample, plan.faces) for sample in column.scored)
            truth = [sample.truth for sample in column.scored]
            found["perturbed"] = by_level(module, clips, truth, first.spec, plan.perturb)
        return found

    def _score(
        self, recognizer: Recognizer, detector: MovableDetector, data: DataSet, name: str, jitter: Jitter | None
    ) -> Column:
        told = self._progress
        progress = None if told is None else lambda done, total: told(f"{name} on {data.name}", done, total)
        column = score(recognizer, detector, data, jitter, self._plan.faces, progress)
        return dataclasses.replace(column, name=name)


def _require_apart(data: DataSet, split: DataSet) -> None:
    """InvalidInput if a temperature would be fitted on samples that it is judged on."""
    evaluated, fitted = (
        {(sample.path.resolve(), sample.name if sample.given else "") for sample in part.samples}
        for part in (data, split)
    )
    if shared := len(evaluated & fitted):
        raise InvalidInput(
            f"expected a temperature fitted on other samples than those of {data.name}, {shared} are in both",
            "name another split with --fit-temperature",
        )
