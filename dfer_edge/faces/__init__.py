"""Faces: detect, follow, landmarks."""

from __future__ import annotations

from dfer_edge.faces.aligned import FaceFinder, for_network
from dfer_edge.faces.detectors import Detector, make_detector
from dfer_edge.faces.follow import FaceFollower
from dfer_edge.faces.landmarks import LandmarkDetector, Landmarks, find_scored, make_landmark_detector
from dfer_edge.faces.track import FaceTracker

__all__ = [
    "Detector",
    "FaceFinder",
    "FaceFollower",
    "FaceTracker",
    "LandmarkDetector",
    "Landmarks",
    "find_scored",
    "for_network",
    "make_detector",
    "make_landmark_detector",
]
