"""Per-frame expression pipelines that the user installed, run over the same video as ours.

A pipeline is named ``package.module:factory``. ``factory()`` returns a callable that takes one RGB frame, uint8
[H, W, 3], and returns the scores of the faces in it: a mapping of label to score for the largest face, or None for no
face. Its answer over a video is the mean over frames, as such tools are used on videos. Nothing of it is installed or
downloaded by this package.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.cases.video import video_path
from dfer_edge.bench.measure import timing
from dfer_edge.bench.report.results import Row
from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Image

# Of a video of any length: all are held decoded, so that only the pipeline is timed.
_FRAMES = 100

Scores = Mapping[str, float]
Pipeline = Callable[[Image], "Scores | None"]


def load(name: str) -> Pipeline:
    """The pipeline of a ``package.module:factory``.

    Raises
    ------
    InvalidInput
        For a name of another form, or a factory that gives no callable.
    EngineUnavailable
        If it is not installed.
    """
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise InvalidInput(f"expected a pipeline as package.module:factory, got {name!r}")
    try:
        pipeline = getattr(importlib.import_module(module), factory)()
    except ImportError as error:
        raise EngineUnavailable(f"pipeline {name} cannot be imported: {error}") from error
    except AttributeError as error:
        raise InvalidInput(f"expected {factory} in {module}, there is none") from error
    if not callable(pipeline):
        raise InvalidInput(f"expected {name} to give a callable of one frame, got {type(pipeline).__name__}")
    checked: Pipeline = pipeline
    return checked


def summarise(answers: Iterable[Any]) -> tuple[dict[str, float], int]:
    """Mean score of each label over the frames with a face, and how many those are.

    Raises
    ------
    InvalidInput
        If an answer is no mapping of label to number.
    """
    total: dict[str, float] = {}
    count = 0
    for answer in answers:
        if answer is None:
            continue
        if not isinstance(answer, Mapping) or not answer:
            raise InvalidInput(f"expected a mapping of label to score or None a frame, got {type(answer).__name__}")
        count += 1
        for label, score in answer.items():
            total[str(label)] = total.get(str(label), 0.0) + float(score)
    return {label: value / count for label, value in total.items()}, count


def run(context: Context, case: str) -> None:
    """A ``pipeline/`` case: milliseconds a frame, frames a second, and what it says of the video's first 100 frames."""
    name, path = case.removeprefix("pipeline/"), video_path(context.plan)
    pipeline = load(name)
    timing.library_threads(context.plan.threads)
    frames = [frame.image for frame in itertools.islice(open_source(path), _FRAMES)]
    scores, seen = summarise(pipeline(frame) for frame in frames)
    position = iter(range(1 << 62))

    def call() -> None:
        pipeline(frames[next(position) % len(frames)])

    times = timing.interleaved({"x": call}, context.plan.samples, 3.0 if context.plan.quick else 8.0)["x"]
    row = Row(case, config={"pipeline": name, "video": path.name, "batch": 1}, latency_ms=timing.summary(times))
    row.samples_per_s = 1e3 / float(row.latency_ms["p50"])
    label = max(scores, key=lambda label: scores[label]) if scores else ""
    row.gate = {"passed": bool(scores), "label": label, "frames_with_a_face": seen, "frames": len(frames)}
    row.extra = {"samples": "frames", "mean_scores": scores}
    context.emit(row)
