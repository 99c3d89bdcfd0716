"""Faces found and placed: boxes laid by landmarks, since detectors place and size a
face's box each in their own way, eyes and mouth do not.

A network that reads tight crops is as sensitive to where the box lies as to the face in it. The same box for the same
face, whichever detector found it, is worth more than another detector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.detectors import Detector, make_detector, named
from dfer_edge.faces.landmarks import LandmarkDetector, make_landmark_detector
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Detection, Image, Points

# The box in units of s of `face_frame`: YuNet's median on 54 portraits is 2.04 wide and 2.82 high, 0.17 above.
# 1.5 % more since landmarks v2, whose s is that much smaller: the weights see faces as they were trained on them.
WIDTH, HEIGHT, ABOVE = 2.03, 2.84, 0.145
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


def roll(points: np.ndarray) -> float:
    """Angle of the line through the eyes of landmarks [68, 2] in radians, clockwise as the image shows it; 0 if NaN."""
    across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    angle = float(np.arctan2(across[1], across[0]))
    return angle if np.isfinite(angle) else 0.0


@dataclasses.dataclass(frozen=True)
class Found:
    """A face in one picture.

    Attributes
    ----------
    box
        As the network wants it: laid by landmarks, or as the detector laid it.
    points
        float32 [68, 2] in pixels of the picture; None without a landmark detector, and where it sees no face here.
    score
        0 to 1: the detector's.
    """

    box: Box
    points: Points | None
    score: float


class FaceFinder:
    """A face detector and the landmarks of what it finds; both are shared by all followers.

    Parameters
    ----------
    detector
        Finds faces.
    landmarks
        Finds the points of each; None for none.
    aligns
        Boxes are laid anew by the points; a box stays as it was where they find no face.

    Attributes
    ----------
    name
        The detector's.
    landmarks, aligns
        As given; without landmarks nothing is aligned.
    """

    def __init__(self, detector: Detector, landmarks: LandmarkDetector | None = None, aligns: bool = True) -> None:
        self._detector, self.landmarks = named(detector), None if landmarks is None else named(landmarks)
        self.name, self.aligns = self._detector.name, aligns and landmarks is not None

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`dfer_edge.faces.Detector`: boxes as the network wants them."""
        if not self.aligns:
            return self.search(image)
        return [Detection(found.box, found.score) for found in self.place(image, self.search(image))]

    def search(self, image: Image) -> list[Detection]:
        """Faces as the detector lays them, best first.

        Raises
        ------
        InvalidInput
            If a detector of the user's answers with a box that is not finite.
        """
        detections = self._detector.detect(image)
        for detection in detections:
            if not np.isfinite(detection.box).all():
                raise InvalidInput(f"expected finite face boxes from {self.name}, got {tuple(detection.box)}")
        return list(detections)

    def place(self, image: Image, detections: Sequence[Detection]) -> list[Found]:
        """The detections with their points; boxes laid anew where that is asked for and the points are there."""
        placed = []
        for detection, points in zip(detections, self.look(image, [d.box for d in detections]), strict=True):
            believed = points is not None and box_of(points).iou(detection.box) >= _LEAST_IOU
            own = points if believed else None
            box = box_of(own) if own is not None and self.aligns else detection.box
            placed.append(Found(box, own, detection.score))
        return placed

    def look(self, image: Image, boxes: Sequence[Box]) -> list[Points | None]:
        """Points [68, 2] of the faces in boxes of the detectors' convention; None where none is seen.

        Raises
        ------
        InvalidInput
            If a landmark detector of the user's answers with something else.
        """
        if self.landmarks is None:
            return [None] * len(boxes)
        found = [faces_landmarks.find(self.landmarks, image, box) for box in boxes]
        return [None if np.isnan(points).any() else points for points in found]


def for_network(
    spec: ModelSpec,
    detector: str | Path | Detector = "auto",
    landmark_detector: str | Path | LandmarkDetector | None = "auto",
    threads: int | None = None,
) -> tuple[FaceFinder, LandmarkDetector | None]:
    """What finds the faces of a network, and its landmark detector if it takes landmarks.

    Parameters
    ----------
    spec
        Says whether boxes are laid by landmarks (``face_box``) and whether the network takes landmarks itself.
    detector, landmark_detector, threads
        As :func:`~dfer_edge.faces.make_detector` and :func:`~dfer_edge.faces.make_landmark_detector` take them. Without
        a landmark detector boxes stay the face detector's, and it is run on each frame.

    Raises
    ------
    InvalidInput, WeightsNotFound, CorruptArtifact, EngineUnavailable
    """
    found = make_detector(detector)
    landmarks = make_landmark_detector(landmark_detector, threads)
    return FaceFinder(found, landmarks, spec.face_box == "landmarks"), landmarks if spec.landmarks else None
