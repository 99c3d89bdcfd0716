"""Faces: detect, track, landmarks."""

from __future__ import annotations

from dfer_edge.faces.aligned import AlignedDetector, for_network
from dfer_edge.faces.detectors import Detector, make_detector
from dfer_edge.faces.landmarks import LandmarkDetector, make_landmark_detector
from dfer_edge.faces.track import FaceTracker

__all__ = [
    "AlignedDetector",
    "Detector",
    "FaceTracker",
    "LandmarkDetector",
    "for_network",
    "make_detector",
    "make_landmark_detector",
]
