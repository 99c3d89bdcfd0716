"""Windows to logits: each step's features once, then one call for everyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dfer_edge.engines.base import LOGITS, Engine, FloatArray, Kept
from dfer_edge.flow import preprocess
from dfer_edge.flow.streaming import require_parts
from dfer_edge.live.history import Glimpse, Step, as_clip, frames_of

# Windows of one engine call: bounds memory with many faces.
MAX_BATCH = 8


class Scorer(Protocol):
    """A network on an engine."""

    def logits(self, windows: Sequence[Sequence[Step]]) -> list[FloatArray]:
        """Logits [K] of each window, or [T, K] of networks that score single frames."""
        ...


class StepScorer:
    """A network in two parts: new steps go through the first in one call, everyone's window through the second.

    Logits equal those of the whole network on the same frames, to rounding.

    Attributes
    ----------
    needed, computed
        Steps of all windows, and how many of them the first part was run on.
    """

    def __init__(self, features: Engine, head: Engine) -> None:
        require_parts(features, head)
        self._features, self._head = features, head
        self.needed = self.computed = 0

    def logits(self, windows: Sequence[Sequence[Step]]) -> list[FloatArray]:
        """See :class:`Scorer`."""
        # A short window repeats its steps; a dictionary keeps the order and each of them once.
        new = list(dict.fromkeys(step for window in windows for step in window if step.features is None))
        most = MAX_BATCH * max(len(window) for window in windows) if windows else 1
        for start in range(0, len(new), most):
            self._compute(new[start : start + most])
        self.needed += sum(len(window) for window in windows)
        self.computed += len(new)
        found: list[FloatArray] = []
        for start in range(0, len(windows), MAX_BATCH):
            part = windows[start : start + MAX_BATCH]
            found.extend(self._head.infer_kept([[_kept(step) for step in window] for window in part]))
        return found

    def _compute(self, steps: Sequence[Step]) -> None:
        engine = self._features
        feed = preprocess.to_feed([step.clip() for step in steps], engine.spec, engine.takes_pixels)
        for step, kept in zip(steps, engine.keep(feed), strict=True):
            step.features = kept


class FrameScorer:
    """A network that scores single images: each frame once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def logits(self, windows: Sequence[Sequence[Step]]) -> list[FloatArray]:
        """See :class:`Scorer`."""
        new = list(dict.fromkeys(step for window in windows for step in window if step.features is None))
        for start in range(0, len(new), MAX_BATCH):
            part = new[start : start + MAX_BATCH]
            engine = self._engine
            feed = preprocess.to_feed([step.clip() for step in part], engine.spec, engine.takes_pixels)
            for step, row in zip(part, self._engine.infer(feed)[LOGITS], strict=True):
                step.features = row.copy()
        return [np.stack([_scores(step) for step in window]) for window in windows]


class WholeScorer:
    """A network that shares nothing between windows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def logits(self, windows: Sequence[Sequence[Step]]) -> list[FloatArray]:
        """See :class:`Scorer`."""
        found: list[FloatArray] = []
        for start in range(0, len(windows), MAX_BATCH):
            clips = [as_clip(self._padded(frames_of(window))) for window in windows[start : start + MAX_BATCH]]
            feed = preprocess.to_feed(clips, self._engine.spec, self._engine.takes_pixels)
            found.extend(self._engine.infer(feed)[LOGITS])
        return found

    def _padded(self, glimpses: tuple[Glimpse, ...]) -> tuple[Glimpse, ...]:
        # Frames beyond the last whole step are part of the input, but nothing reads them.
        return glimpses + glimpses[-1:] * (self._engine.spec.frames - len(glimpses))


def _kept(step: Step) -> Kept:
    assert isinstance(step.features, Kept)  # noqa: S101 - computed just before
    return step.features


def _scores(step: Step) -> FloatArray:
    assert isinstance(step.features, np.ndarray)  # noqa: S101 - computed just before
    return step.features


def make_scorer(engine: Engine, parts: tuple[Engine, Engine] | None) -> Scorer:
    """The scorer of a network: by steps where its parts are loaded, by frames or whole otherwise."""
    if engine.spec.input == "image":
        return FrameScorer(engine)
    return StepScorer(*parts) if parts else WholeScorer(engine)
