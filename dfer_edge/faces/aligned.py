"""Boxes laid by landmarks: detectors place and size a face's box each in their own way, eyes and mouth do not.

A network that reads tight crops is as sensitive to where the box lies as to the face in it. The same box for the same
face, whichever detector found it, is worth more than another detector.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.detectors import Detector, make_detector, named
from dfer_edge.faces.landmarks import LandmarkDetector, make_landmark_detector
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Detection, Image, Points

# The box in units of s of `face_frame`: YuNet's median on 54 portraits is 2.04 wide and 2.82 high, 0.17 above.
WIDTH, HEIGHT, ABOVE = 2.0, 2.8, 0.14
# Landmarks that put the face elsewhere than the detector did are not trusted: least overlap of the two boxes.
_LEAST_IOU = 0.4


def face_frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre between eyes and mouth and the scale s of faces, in any plane and unit.

    s hardly changes when a head turns to the side or nods, since one of its two distances stays.

    Parameters
    ----------
    points
        float [..., 68, 2]

    Returns
    -------
    centre [..., 2], and s [...]: root mean square of the distance between the eyes' centres and the distance from
    their middle to the middle of the mouth's corners
    """
    right, left = points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)
    eyes, mouth = (right + left) / 2, (points[..., 48, :] + points[..., 54, :]) / 2
    across, down = left - right, mouth - eyes
    return (eyes + mouth) / 2, np.sqrt((np.square(across).sum(-1) + np.square(down).sum(-1)) / 2)


def box_of(points: Points) -> Box:
    """The box of a face with landmarks [68, 2] (pixel centres at integers), in pixels of the same image."""
    (x, y), s = face_frame(points.astype(np.float64))
    # Edges of pixels count in boxes: centres lie half a pixel in.
    x, y = float(x) + 0.5, float(y - ABOVE * s) + 0.5
    half_width, half_height = float(WIDTH * s / 2), float(HEIGHT * s / 2)
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


class AlignedDetector:
    """A detector whose boxes are laid anew by landmarks; the box stays as it was where those find no face.

    Parameters
    ----------
    detector
        Finds faces.
    landmarks
        Finds the points of each: one call a face found.
    """

    def __init__(self, detector: Detector, landmarks: LandmarkDetector) -> None:
        self._detector, self.landmarks = named(detector), named(landmarks)
        self.name = self._detector.name

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`dfer_edge.faces.Detector`."""
        return [Detection(self._aligned(image, found.box), found.score) for found in self._detector.detect(image)]

    def _aligned(self, image: Image, box: Box) -> Box:
        points = faces_landmarks.find(self.landmarks, image, box)
        if np.isnan(points).any():
            return box
        aligned = box_of(points)
        return aligned if aligned.iou(box) >= _LEAST_IOU else box


def for_network(
    spec: ModelSpec,
    detector: str | Path | Detector = "auto",
    landmark_detector: str | Path | LandmarkDetector | None = "auto",
    threads: int | None = None,
) -> tuple[Detector, LandmarkDetector | None]:
    """The face detector of a network, and its landmark detector if it takes landmarks.

    Parameters
    ----------
    spec
        Says whether boxes are laid by landmarks (``face_box``) and whether the network takes landmarks itself.
    detector, landmark_detector, threads
        As :func:`~dfer_edge.faces.make_detector` and :func:`~dfer_edge.faces.make_landmark_detector` take them. Without
        a landmark detector boxes stay the face detector's.

    Raises
    ------
    InvalidInput, WeightsNotFound, CorruptArtifact, EngineUnavailable
    """
    found = make_detector(detector)
    aligns = spec.face_box == "landmarks"
    landmarks = make_landmark_detector(landmark_detector, threads) if aligns or spec.landmarks else None
    if aligns and landmarks is not None:
        found = AlignedDetector(found, landmarks)
    return found, landmarks if spec.landmarks else None
