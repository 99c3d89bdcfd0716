"""Jittered detector boxes: how steady labels are when the detector puts the face elsewhere.

Boxes move as they leave the detector. Where landmarks lay the face box (``spec.face_box``), they do so after that, as
they would for another detector: what is left of the move is what they do not mend.
"""

from __future__ import annotations

import dataclasses
import math
import zlib

import numpy as np

from dfer_edge.faces import Detector
from dfer_edge.faces.prepared import fingerprint
from dfer_edge.types import Box, Detection, Image


@dataclasses.dataclass(frozen=True)
class Move:
    """A change of a box: its centre moves by ``right`` and ``down`` of its longer side, its sides by ``factor``."""

    right: float
    down: float
    factor: float

    def apply(self, box: Box) -> Box:
        """The moved box."""
        side = max(box.width, box.height)
        x, y = (box.left + box.right) / 2 + self.right * side, (box.top + box.bottom) / 2 + self.down * side
        half_width, half_height = box.width * self.factor / 2, box.height * self.factor / 2
        return Box(x - half_width, y - half_height, x + half_width, y + half_height)


@dataclasses.dataclass(frozen=True)
class Jitter:
    """The distribution of moves.

    Shifts are uniform in [-shift, shift] of the box's longer side, each axis on its own; the logarithm of the scale is
    uniform in [-scale, scale]. Draws depend on the seed and the sample's name only: the same boxes for every network,
    engine and choice of classes.

    Attributes
    ----------
    draws
        Boxes a sample.
    shift
        Share of the longer side.
    scale
        0.1 is a box between 0.905 and 1.105 times as large.
    seed
        Of the generator.
    """

    draws: int
    shift: float = 0.06
    scale: float = 0.10
    seed: int = 0

    def moves(self, name: str) -> list[Move]:
        """The ``draws`` moves for the sample of that name."""
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        rows = generator.uniform(-1, 1, (self.draws, 3)).tolist()
        return [Move(self.shift * x, self.shift * y, math.exp(self.scale * s)) for x, y, s in rows]


class MovableDetector:
    """A detector whose boxes are moved by ``move`` while one is set; the last image's faces are kept for the next call.

    Parameters
    ----------
    detector
        The real one.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name, self.fingerprint = detector.name, fingerprint(detector)
        self.move: Move | None = None
        self._image: Image | None = None
        self._found: list[Detection] = []

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`dfer_edge.faces.Detector`."""
        if image is not self._image:
            self._image, self._found = image, self._detector.detect(image)
        if self.move is None:
            return list(self._found)
        return [Detection(self.move.apply(detection.box), detection.score) for detection in self._found]
