"""dlib's frontal face detector (paper 004), where dlib is installed."""

from __future__ import annotations

import numpy as np

from dfer_edge.errors import EngineUnavailable
from dfer_edge.faces.regions import box_of_square, shrunk
from dfer_edge.system.call_lock import CallLock
from dfer_edge.types import Detection, Image


class DlibDetector:
    """Histograms of oriented gradients in five views (King 2015): frontal faces; its weights are within dlib.

    Parameters
    ----------
    longest
        Frames are shrunk to this many pixels on their longer side, and searched at twice that: faces from 40 pixels on.

    Raises
    ------
    EngineUnavailable
        Without dlib.
    """

    name = "dlib"

    # Median square of dlib 20 against YuNet's box on 59 stills with one face (bench/studies/face_boxes.py).
    _WIDTH, _HEIGHT, _DOWN = 0.95, 1.25, -0.07

    def __init__(self, longest: int = 480) -> None:
        try:
            import dlib
        except ImportError as error:
            hint = 'pip install "dfer-edge[landmarks-dlib]", or a wheel of it: pip install dlib-bin'
            raise EngineUnavailable("expected dlib for its face detector, it is not installed", hint) from error
        self._longest, self._detector = longest, dlib.get_frontal_face_detector()
        # The pyramid of the last picture is a state of the detector.
        self._calls = CallLock()

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`~dfer_edge.faces.detectors.Detector`; a margin s from the plane scores s / (s + 1)."""
        small, scale = shrunk(image, self._longest)
        with self._calls:
            squares, margins, _ = self._detector.run(np.ascontiguousarray(small), 1, 0.0)
        shape = (self._WIDTH, self._HEIGHT, self._DOWN)
        found = [
            # Right and bottom are inclusive.
            Detection(
                box_of_square(square.left() / scale, square.top() / scale, square.width() / scale, shape),
                max(0.0, float(margin)) / (max(0.0, float(margin)) + 1),
            )
            for square, margin in zip(squares, margins, strict=True)
        ]
        return sorted(found, key=lambda detection: -detection.score)
