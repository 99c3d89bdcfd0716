"""Glass to label of the shipped weights: by engine, by faces in the picture, and with a deadline."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.cases.glass_to_label import StampedSource, read_stamp
from dfer_edge.bench.cases.video import PacedSource, video_path
from dfer_edge.bench.measure import timing
from dfer_edge.bench.measure.scenarios import Clock
from dfer_edge.bench.plan import Plan, split_key
from dfer_edge.bench.report.results import WRONG, Row
from dfer_edge.errors import SourceLost
from dfer_edge.faces import make_detector
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Image
from dfer_edge.weights import file as weights_files

SIZE = (360, 640)
_GRID, _AROUND, _GREY = (2, 3), 2.2, 110
_WINDOW_S, _HOP_S = 1.0, 0.0
# The first of a process: caches, allocators and threads are still cold.
_WARM_UP_S = 1.0
_TAKEN_S = 8.0


def run(context: Context, case: str) -> None:
    """``glass/KEY/ENGINE/PRECISION/f1`` to ``f6``, with ``-hopMS`` at another hop, or ``deadlineMS`` with one face.

    Raises
    ------
    WeightsNotFound
        Without weights or a video.
    """
    _, key, engine, precision, what = case.split("/")
    plan = context.plan
    path, (model, weights) = video_path(plan), split_key(key)
    names: tuple[Any, Any, Any, Any] = (model, weights, engine, precision)
    weights_files.resolve(model, weights)
    recognizer = Recognizer(*names, threads=plan.threads)
    timing.library_threads(plan.threads)
    info = recognizer.info()
    config = {"network": key, "model": model, "weights": info["weights"]["name"], "video": path.name, "batch": 1}
    config |= {name: info[name] for name in ("engine", "precision", "threads", "detector")}
    faces, options = _meant(what)
    limit = int(_TAKEN_S * plan.rate)
    taken = [frame.image for frame, _ in zip(open_source(path), range(limit), strict=False)]
    context.emit(_measured(plan, Row(case, config=config | {"faces": faces}), recognizer, crowd(taken, faces), options))


def _meant(what: str) -> tuple[int, dict[str, float]]:
    """Faces, and the options of the stream."""
    if what.startswith("deadline"):
        return 1, {"deadline_ms": float(what.removeprefix("deadline"))}
    faces, _, hop = what.removeprefix("f").partition("-hop")
    return int(faces), {"hop_s": float(hop) / 1e3} if hop else {}


def crowd(frames: Sequence[Image], faces: int) -> list[Image]:
    """Frames of 640x360 with the face of a video in one to six places, each at another moment of it.

    Raises
    ------
    ValueError
        If no face is in the first frame.
    """
    found = make_detector().detect(frames[0])
    if not found:
        raise ValueError("expected a face in the first frame of the video, found none")
    (x, y), side = found[0].box.centre, _AROUND * max(found[0].box.width, found[0].box.height)
    height, width = SIZE[0] // _GRID[0], SIZE[1] // _GRID[1]
    scale = height / side
    matrix = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]], np.float64)
    cells = [cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_AREA) for frame in frames]
    made = []
    for index in range(len(frames)):
        picture = np.full((*SIZE, 3), _GREY, np.uint8)
        for place in range(faces):
            row, column = divmod(place, _GRID[1])
            cell = cells[(index + place * len(frames) // faces) % len(frames)]
            cell = cell[:, ::-1] if place % 2 else cell
            picture[row * height : (row + 1) * height, column * width : (column + 1) * width] = cell
        made.append(picture)
    return made


def _measured(plan: Plan, row: Row, recognizer: Recognizer, frames: list[Image], options: dict[str, float]) -> Row:
    clock, seconds = Clock(), 4.0 if plan.quick else plan.seconds
    source = PacedSource(frames, plan.rate, seconds, clock)
    ages: list[float] = []
    beside: list[float] = []
    stages: list[dict[str, float]] = []
    moments: set[int] = set()
    load, begin, processor = os.getloadavg()[0] if hasattr(os, "getloadavg") else None, 0.0, 0.0
    live: dict[str, Any] = {"hop_s": _HOP_S, "no_face": False, "reconnect": False, "frames": True, **options}
    with recognizer.stream(StampedSource(source, clock.now), window_s=_WINDOW_S, **live) as stream:
        with contextlib.suppress(SourceLost):
            for found in stream:
                age = (clock.now() - read_stamp(np.asarray(found.frame))) * 1e3
                begin, processor = begin or clock.now(), processor or time.process_time()
                if found.time_s >= _WARM_UP_S:
                    times = found.prediction.timings_ms
                    ages.append(age)
                    beside.append(age - times["engine"])
                    stages.append(dict(times))
                    moments.add(found.frame_index)
        used, wall, stats = time.process_time() - processor, clock.now() - begin, stream.stats()
    if not ages:
        row.status, row.reason = WRONG, "no observation came out: is there a face in the video?"
        return row
    row.scenario, row.latency_ms = "live", timing.summary(ages)
    row.stages_ms = {name: float(np.median([times.get(name, 0.0) for times in stages])) for name in stages[-1]}
    row.samples_per_s = (stats.frames - stats.dropped - stats.replaced) / seconds
    row.extra = {
        "samples": "people in frames",
        "beside_engine_ms": timing.summary(beside),
        "engine_ms": timing.summary([times["engine"] for times in stages]),
        "processor_ms_a_frame": used / wall * 1e3 / plan.rate,
        "people_a_frame": len(ages) / len(moments),
        "missed_frames": stats.dropped + stats.replaced,
        "deepest_queue": stats.queue,
        "camera_frames_per_s": plan.rate,
        "seconds": seconds,
        "window_s": _WINDOW_S,
        "hop_s": live["hop_s"],
        "load_before": load,
        "scheduler": _scheduler(),
    }
    if "deadline_ms" in options:
        kept = float(np.mean(np.asarray(ages) <= options["deadline_ms"]))
        row.extra |= {"deadline_ms": options["deadline_ms"], "kept": kept, "late": stats.late, "skipped": stats.skipped}
        row.extra |= {"hop_s_at_end": stats.hop_s, "beat_s_at_end": stats.beat_s}
    return row


def _scheduler() -> str:
    """How the system schedules this process: real time says that neighbours hardly mattered."""
    if not hasattr(os, "sched_getscheduler"):
        return "unknown"
    kinds = {os.SCHED_OTHER: "normal", os.SCHED_RR: "real time", os.SCHED_FIFO: "real time"}
    return kinds.get(os.sched_getscheduler(0), "other")
