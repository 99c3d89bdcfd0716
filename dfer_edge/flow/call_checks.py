"""What the calls of a `Recognizer` take, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.flow.clips import SHORTEST_S
from dfer_edge.flow.pipeline import WindowPlan
from dfer_edge.sources.frames import Source
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Points


def checked_plan(plan: WindowPlan, source: Source) -> WindowPlan:
    """``plan`` if its lengths make sense for the source, else InvalidInput."""
    for what, value in (("window", plan.window_s), ("hop", plan.hop_s)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= SHORTEST_S:
            raise InvalidInput(f"expected a {what} of at least {SHORTEST_S} s, got {value!r}")
        if math.isinf(value) and getattr(source, "live", False):
            raise InvalidInput(f"expected a {what} that ends, of a live source that need not, got {value!r}")
    return plan


# Cameras and addresses.
LIVE_HINT = "Recognizer.stream takes it, and dfer-edge live"


def bounded(source: Any) -> Source:
    """The source, opened, if it ends; else InvalidInput."""
    opened = open_source(source)  # a live source is not opened yet
    if getattr(opened, "live", False):
        raise InvalidInput(f"expected a source that ends, got the live source {opened.name}", LIVE_HINT)
    return opened


def checked_landmarks(landmarks: Any, points: int, source: Source) -> Points:
    """``landmarks`` as float32 if they are ``points`` sensible ones for each frame of the source, else InvalidInput."""
    if not points:
        raise InvalidInput("expected no landmarks: this network takes pixels only")
    array = np.asarray(landmarks)
    # Headers of videos lie about their length: there the count is checked while reading.
    count = source.length_hint if source.is_clip else len(array) if array.ndim else 0
    expected = (count, points, 2)
    if array.shape != expected or array.dtype.kind != "f":
        raise InvalidInput(f"expected float landmarks of shape {expected}, got {array.dtype} {array.shape}")
    failed = np.flatnonzero(~np.isfinite(array).all((1, 2)))
    if failed.size:
        raise InvalidInput(f"expected finite landmarks in each frame, got NaN or infinity in frame {failed[0]}")
    failed = np.flatnonzero(np.ptp(array, axis=1).max(-1) == 0)
    if failed.size:
        raise InvalidInput(f"expected a face of landmarks in each frame, all points of frame {failed[0]} are one point")
    return array.astype(np.float32)
