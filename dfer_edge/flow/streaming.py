"""Sliding windows at the cost of their new frames: features are computed once per step and kept (exact)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dfer_edge.errors import InvalidInput
from dfer_edge.flow.clips import uniform_indices
from dfer_edge.inference.parts import FEATURES, LOGITS, Part, Streaming
from dfer_edge.spec import ModelSpec

Array = Any
"""A numpy array for engines, a torch tensor for modules."""


class PartRunner(Protocol):
    """A loaded part of a network: an :class:`~dfer_edge.engines.base.Engine` or a simplified module."""

    spec: ModelSpec
    part: Part
    weights_sha256: str

    def infer(self, feed: Mapping[str, Any]) -> Mapping[str, Any]:
        """Named inputs to the part's named output, all with a batch axis."""
        ...


def require_parts(features: PartRunner, head: PartRunner) -> None:
    """Raises InvalidInput unless these are the parts ``features`` and ``head`` of one network, of the same weights."""
    if (features.part, head.part) != ("features", "head"):
        raise InvalidInput(f"expected the parts features and head of a network, got {features.part}, {head.part}")
    if features.spec != head.spec or features.weights_sha256 != head.weights_sha256:
        names = f"{features.spec.name} {features.weights_sha256[:8]}, {head.spec.name} {head.weights_sha256[:8]}"
        raise InvalidInput(f"expected two parts of one network with the same weights, got {names}")


class StreamingState:
    """The window of one person: features of its steps, from which logits follow at any time.

    Parameters
    ----------
    features, head
        The two parts of one network with the same weights. Many states may share them; a state keeps
        two times ``streaming.steps`` features and nothing else.

    Attributes
    ----------
    streaming
        Frames of a step, steps of a window, shape of a step's features.

    Raises
    ------
    InvalidInput
        If these are not the two parts of one network with the same weights.
    """

    def __init__(self, features: PartRunner, head: PartRunner) -> None:
        require_parts(features, head)
        self.streaming = Streaming.of(features.spec)
        self._features, self._head = features, head
        self.reset()

    def __len__(self) -> int:
        """Steps in the window, at most ``streaming.steps``."""
        return min(self._pushed, self.streaming.steps)

    def reset(self) -> None:
        """Forget all frames, e.g. after a cut or when another person takes over."""
        self._pushed = 0
        self._ring: Array = None

    def push(self, clip: Array, landmarks: Array = None) -> None:
        """Append new frames; the oldest leave a full window.

        Parameters
        ----------
        clip
            [3, n * frames_per_step, H, W], n >= 1 new steps, normalised as the network's spec says, in the dtype of the
            part. All n are one call of the features part.
        landmarks
            [n * frames_per_step, 68, 2] in input pixels, x then y, for networks that take them.

        Raises
        ------
        InvalidInput
            For another shape or dtype, a part of a step, or landmarks missing or not taken. The window stays as it was.
        """
        feed = {"clip": self._by_step("clip", clip, 1)}
        if landmarks is not None:
            feed["landmarks"] = self._by_step("landmarks", landmarks, 0)
        new = self._features.infer(feed)[FEATURES][:, 0]
        steps = self.streaming.steps
        if self._ring is None:
            # An array of the same kind, dtype and device; what it holds is overwritten before it is read.
            self._ring = new[[0] * (2 * steps)]
        for step in new:
            # Twice, `steps` apart: any window is then one slice, oldest step first, and is never copied together.
            slot = self._pushed % steps
            self._ring[slot] = self._ring[slot + steps] = step
            self._pushed += 1

    def logits(self) -> Array:
        """Logits [K] of the current window.

        While the window is not full, its k steps repeat as :func:`dfer_edge.flow.clips.uniform_indices` repeats the
        frames of a short clip: equal to the whole network on a clip of ``uniform_indices(k, steps)`` of these steps.

        Raises
        ------
        InvalidInput
            If nothing was pushed yet.
        """
        steps, start = self.streaming.steps, self._pushed % self.streaming.steps
        if not self._pushed:
            raise InvalidInput("expected at least one step in the window, got none", "push frames first")
        full = self._pushed >= steps
        window = self._ring[start : start + steps] if full else self._ring[uniform_indices(self._pushed, steps)]
        return self._head.infer({FEATURES: window[None]})[LOGITS][0]

    def _by_step(self, name: str, value: Array, axis: int) -> Array:
        """Frames along ``axis`` as steps along a leading batch axis: [n, ..., frames_per_step, ...]."""
        frames, shape = self.streaming.frames_per_step, tuple(getattr(value, "shape", ()))
        if len(shape) != (4, 3)[name == "landmarks"] or not shape[axis] or shape[axis] % frames:
            expected = f"a positive multiple of {frames} frames on axis {axis} of {name}"
            raise InvalidInput(f"expected {expected}, got {type(value).__name__} of shape {shape}")
        return value.reshape(*shape[:axis], -1, frames, *shape[axis + 1 :]).swapaxes(0, axis)
