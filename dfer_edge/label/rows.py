"""One file to its rows: a row a person and window; a file without any is one row with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfer_edge.errors import DferError, NoFaceFound
from dfer_edge.recognizer import Recognizer
from dfer_edge.types import Observation

Row = dict[str, Any]
OK, NO_FACE, FAILED = "ok", "no face", "failed"
EDGES = ("left", "top", "right", "bottom")


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the labels of a file follow from.

    Attributes
    ----------
    model, weights, engine, precision, detector, threads
        As :class:`~dfer_edge.Recognizer` takes them.
    window_s
        Of a window.
    """

    model: str = "slowr50_sa"
    weights: str = "default"
    engine: str = "auto"
    precision: str = "auto"
    detector: str = "auto"
    threads: int | None = None
    window_s: float = 4.0

    def recognizer(self) -> Recognizer:
        """The recogniser; of a worker, its own."""
        names: tuple[Any, Any, Any, Any] = (self.model, self.weights, self.engine, self.precision)  # checked there
        return Recognizer(*names, detector=self.detector, threads=self.threads)


def rows_of(recognizer: Recognizer, root: Path, name: str, window_s: float) -> list[Row]:
    """The rows of the file ``name`` below ``root``; never raises for what is wrong with the file."""
    path = root / name
    try:
        stat = path.stat()
        stamp = {"file": name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
        timeline = recognizer.timeline(path, window_s=window_s)
    except NoFaceFound:
        return [_row(stamp, NO_FACE, "no face in any frame")]
    except (DferError, OSError) as error:
        stamp = locals().get("stamp") or {"file": name, "bytes": -1, "modified_ns": -1}
        reason = error.message if isinstance(error, DferError) else error.strerror or str(error)
        return [_row(stamp, FAILED, reason.replace(str(root), "."))]
    seen = {track.track_id: len(track) for track in timeline.tracks}
    found = sorted(timeline.observations, key=lambda observation: (observation.track_id, observation.time_s))
    return [_row(stamp, OK, "", observation, seen[observation.track_id]) for observation in found]


def _row(
    stamp: Mapping[str, Any], status: str, reason: str, observation: Observation | None = None, frames: int = 0
) -> Row:
    row: Row = {**stamp, "status": status, "reason": reason}
    if observation is None:
        nothing = dict.fromkeys(("track_id", "start_s", "end_s", "label", "confidence", *EDGES))
        return {**row, **nothing, "frames_seen": 0, "probabilities": None}
    prediction = observation.prediction
    return {
        **row,
        "track_id": observation.track_id,
        "start_s": observation.start_s,
        "end_s": observation.time_s,
        "label": prediction.label,
        "confidence": prediction.confidence,
        **{edge: float(value) for edge, value in zip(EDGES, prediction.box, strict=True)},
        "frames_seen": frames,
        "probabilities": prediction.scores,
    }
