"""Faces: detect, track."""

from __future__ import annotations

from dfer_edge.faces.detectors import Detector, make_detector
from dfer_edge.faces.track import FaceTracker

__all__ = ["Detector", "FaceTracker", "make_detector"]
