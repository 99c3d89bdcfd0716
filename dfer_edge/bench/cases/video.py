"""End to end: a video file to its prediction, and a live stream at a camera's pace, on the shipped weights."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.cases.glass_to_label import StampedSource, read_stamp
from dfer_edge.bench.measure import timing
from dfer_edge.bench.measure.scenarios import Clock
from dfer_edge.bench.plan import Plan, split_key
from dfer_edge.bench.report.results import WRONG, Row
from dfer_edge.errors import SourceLost, WeightsNotFound
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.frames import Source
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Frame
from dfer_edge.weights import file as weights_files

# An observation a frame.
_WINDOW_S, _LIVE_HOP_S = 1.0, 0.0
_CHECKOUT_CLIP = Path(__file__).resolve().parents[3] / "tests" / "assets" / "astronaut.mp4"


def run(context: Context, case: str) -> None:
    """A ``video/`` or ``live/`` case.

    Raises
    ------
    WeightsNotFound
        Without weights or a video.
    """
    kind, key, engine = case.split("/")
    path = video_path(context.plan)
    model, weights = split_key(key)
    weights_files.resolve(model, weights)
    names: tuple[Any, Any, Any] = (model, weights, engine)
    recognizer = Recognizer(*names, threads=context.plan.threads)
    info = recognizer.info()
    config = {"network": key, "model": model, "weights": info["weights"]["name"], "video": path.name, "batch": 1}
    config |= {name: info[name] for name in ("engine", "precision", "threads", "detector")}
    timing.library_threads(context.plan.threads)
    config["cv2_threads"] = cv2.getNumThreads()
    measure = {"video": _file, "live": _live}[kind]
    context.emit(measure(context.plan, Row(case, config=config), recognizer, path))


def video_path(plan: Plan) -> Path:
    """The video of the plan, else the clip of a checkout.

    Raises
    ------
    WeightsNotFound
        If there is neither.
    """
    path = plan.video or (_CHECKOUT_CLIP if _CHECKOUT_CLIP.is_file() else None)
    if path is None:
        raise WeightsNotFound("a video with a face is needed, and none was named", "--video FILE")
    return path


def _file(plan: Plan, row: Row, recognizer: Recognizer, path: Path) -> Row:
    frames = sum(1 for _ in open_source(path))
    first = recognizer.predict(path)
    taken: list[dict[str, float]] = []

    def call() -> None:
        again = recognizer.predict(path)
        taken.append(dict(again.timings_ms))
        if again.label != first.label:
            raise ArithmeticError(f"the same video is {first.label}, then {again.label}")

    times = timing.interleaved({"x": call}, plan.samples, 3.0 if plan.quick else 8.0, warm_up_s=0.3)["x"]
    row.gate = {"passed": True, "label": first.label, "runs": len(taken)}
    row.latency_ms, row.samples_per_s = timing.summary(times), frames / (np.median(times) / 1e3)
    row.stages_ms = {name: float(np.median([t.get(name, 0.0) for t in taken])) for name in taken[-1]}
    row.extra = {"frames": frames, "samples": "frames"}
    return row


class PacedSource(Source):
    """Frames of a video over and over as a camera gives them: each at its moment, none kept back.

    Parameters
    ----------
    frames
        RGB, repeated until ``seconds`` are over.
    rate
        Frames a second.
    """

    live = True

    def __init__(self, frames: list[Any], rate: float, seconds: float, clock: Clock | None = None) -> None:
        self.name, self._frames, self._clock = "a paced source", frames, clock or Clock()
        self.rate, self.count = rate, max(1, round(rate * seconds))
        self.begin_s = 0.0

    def due_s(self, index: int) -> float:
        """The moment at which the camera has frame ``index``."""
        return self.begin_s + index / self.rate

    def __iter__(self) -> Iterator[Frame]:
        self.begin_s = self._clock.now()
        for index in range(self.count):
            self._clock.wait_until(self.due_s(index))
            yield Frame(self._frames[index % len(self._frames)], index, index / self.rate)


def _live(plan: Plan, row: Row, recognizer: Recognizer, path: Path) -> Row:
    clock, seconds = Clock(), 4.0 if plan.quick else 10.0
    # No more than the camera will give: a long video does not fit into memory.
    frames = [frame.image for frame in itertools.islice(open_source(path), math.ceil(plan.rate * seconds))]
    source = PacedSource(frames, plan.rate, seconds, clock)
    delays: list[float] = []
    stamped = StampedSource(source, clock.now)
    options: dict[str, Any] = {"hop_s": _LIVE_HOP_S, "no_face": False, "reconnect": False, "frames": True}
    with recognizer.stream(stamped, window_s=_WINDOW_S, **options) as stream:
        with contextlib.suppress(SourceLost):
            delays.extend((clock.now() - read_stamp(np.asarray(found.frame))) * 1e3 for found in stream)
        stats = stream.stats()
    if not delays:
        row.status, row.reason = WRONG, "no observation came out: is there a face in the video?"
        return row
    row.scenario, row.latency_ms = "live", timing.summary(delays)
    missed = stats.dropped + stats.replaced
    row.samples_per_s = (source.count - missed) / seconds
    row.extra = {
        "samples": "frames in which faces were looked for",
        "camera_frames_per_s": plan.rate,
        "keeps_up": not missed,
        "missed_frames": missed,
        "observations": len(delays),
        "window_s": _WINDOW_S,
        "hop_s": _LIVE_HOP_S,
        "latency": "glass to label: from the time in the frame's pixels to its observation",
    }
    return row
