"""What overlapping windows of a stream share: features of a step are computed once and kept while they may be needed.

:class:`dfer_edge.streaming.StreamingState` slides over consecutive steps; here windows choose their frames themselves
and people come and go, so features are found by the frames that they were computed from.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dfer_edge import preprocess
from dfer_edge.engines.base import FloatArray
from dfer_edge.inference.parts import FEATURES, LOGITS, Streaming
from dfer_edge.stopwatch import Stopwatch
from dfer_edge.streaming import PartRunner, require_parts
from dfer_edge.types import Clip

_LOG = logging.getLogger("dfer_edge")

# At the default hop a person takes 10 MiB of it with the largest features that there are.
_MOST_BYTES = 128 << 20


class _Key(NamedTuple):
    """What the features of a step follow from: crops of a track are fixed per frame, landmarks are not.

    Where a detector finds no landmarks they repeat those of the frame sampled before, which another window chooses
    otherwise.
    """

    track_id: int
    frame_indices: tuple[int, ...]
    landmarks: bytes


class StepCache:
    """Logits of the windows of one stream, from the two parts of a network.

    Keeps features of the people of the last window, of steps that a later window may share with it.

    Parameters
    ----------
    features, head
        The two parts of one network with the same weights, on numpy arrays. Many caches may share them.
    max_batch
        Windows of one call of the head; one call of the features part takes as many frames.
    most_bytes
        Of features kept from window to window.

    Attributes
    ----------
    needed, computed
        Distinct steps of each window, added up over all windows, and how many of them the features part was run on.

    Raises
    ------
    InvalidInput
        If these are not the two parts of one network with the same weights.
    """

    def __init__(
        self, features: PartRunner, head: PartRunner, max_batch: int = 8, most_bytes: int = _MOST_BYTES
    ) -> None:
        require_parts(features, head)
        self._features, self._head, self._max_batch = features, head, max_batch
        self._streaming = Streaming.of(features.spec)
        self._most_kept = most_bytes // (4 * math.prod(self._streaming.feature_shape))
        self._kept: dict[_Key, FloatArray] = {}
        self.needed = self.computed = 0

    def __len__(self) -> int:
        """Steps whose features are kept."""
        return len(self._kept)

    def logits(self, clips: Mapping[int, Clip], watch: Stopwatch) -> list[FloatArray]:
        """Logits of everyone in the next window of the stream.

        Parameters
        ----------
        clips
            By track; empty if nobody is there.
        watch
            Gets the stages ``preprocess`` and ``engine``.

        Returns
        -------
        Logits [K] in the order of ``clips``, equal to the whole network's to rounding.

        Raises
        ------
        InvalidInput
            If the network takes landmarks and a clip has none.
        """
        windows = [self._steps(track_id, clip) for track_id, clip in clips.items()]
        # A short clip repeats its frames, and so its steps.
        wanted = {key: step for window in windows for key, step in window}
        missing = [key for key in wanted if key not in self._kept]
        features = dict(self._kept)
        most_steps = self._max_batch * self._streaming.steps
        for start in range(0, len(missing), most_steps):
            keys = missing[start : start + most_steps]
            features |= zip(keys, self._compute([wanted[key] for key in keys], watch), strict=True)
        self.needed, self.computed = self.needed + len(wanted), self.computed + len(missing)
        _LOG.debug("window of %d people: %d of %d steps re-used", len(clips), len(wanted) - len(missing), len(wanted))
        logits: list[FloatArray] = []
        with watch.stage("engine"):
            for start in range(0, len(windows), self._max_batch):
                part = windows[start : start + self._max_batch]
                stacked = np.stack([[features[key] for key, _ in window] for window in part])
                logits.extend(self._head.infer({FEATURES: stacked})[LOGITS])
        self._keep(features, clips)
        return logits

    def _steps(self, track_id: int, clip: Clip) -> list[tuple[_Key, Clip]]:
        """Each step of a clip, as a clip; frames beyond the last whole step are never read."""
        frames, found = self._streaming.frames_per_step, []
        for first in range(0, self._streaming.steps * frames, frames):
            part = slice(first, first + frames)
            points = None if clip.landmarks is None else clip.landmarks[part]
            step = Clip(clip.frames[part], clip.frame_indices[part], clip.box, points)
            found.append((_Key(track_id, step.frame_indices, b"" if points is None else points.tobytes()), step))
        return found

    def _compute(self, steps: Sequence[Clip], watch: Stopwatch) -> list[FloatArray]:
        with watch.stage("preprocess"):
            feed = preprocess.to_feed(steps, self._features.spec)
        with watch.stage("engine"):
            features = self._features.infer(feed)[FEATURES][:, 0]
        # Copies: a row that is kept must not keep the others.
        return [row.copy() for row in features]

    def _keep(self, features: Mapping[_Key, FloatArray], clips: Mapping[int, Clip]) -> None:
        """Forget people that left, and steps that begin before the last window's first: windows only move on."""
        first = {track_id: clip.frame_indices[0] for track_id, clip in clips.items()}
        later = [key for key in features if key.track_id in first and key.frame_indices[0] >= first[key.track_id]]
        # Oldest first, and new ones only while there is room. Each of the old is used once more before it leaves;
        # were they replaced, windows whose samples interleave would find nothing.
        self._kept = {key: features[key] for key in later[: self._most_kept]}
