"""Faces: detect, track, landmarks."""

from __future__ import annotations

from dfer_edge.faces.detectors import Detector, make_detector
from dfer_edge.faces.landmarks import LandmarkDetector, make_landmark_detector
from dfer_edge.faces.track import FaceTracker

__all__ = ["Detector", "FaceTracker", "LandmarkDetector", "make_detector", "make_landmark_detector"]
