"""The tracker's name and arguments of release 0.1."""

from __future__ import annotations

from dfer_edge.faces.aligned import FaceFinder
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.follow import FaceFollower


class FaceTracker(FaceFollower):
    """A :class:`FaceFollower`, for code written against 0.1.

    Parameters
    ----------
    detector
        Looks at every frame.
    stride, max_gap
        Numbers of frames, which meant other times at other rates. They change nothing: people are followed in seconds.
    """

    def __init__(self, detector: FaceFinder | Detector, stride: int = 8, max_gap: int = 30) -> None:
        super().__init__(detector)
