"""Faces found and placed: boxes laid by landmarks, since detectors place and size a
face's box each in their own way, eyes and mouth do not.

A network that reads tight crops is as sensitive to where the box lies as to the face in it. The same box for the same
face, whichever detector found it, is worth more than another detector.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces import regions
from dfer_edge.faces.detectors import Detector, make_detector, named
from dfer_edge.faces.geometry import ABOVE, box_of, face_frame, roll
from dfer_edge.faces.landmarks import LandmarkDetector, make_laying_detector
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Detection, Image, Points

__all__ = ["ABOVE", "FaceFinder", "Found", "box_of", "face_frame", "for_network", "roll"]

# Landmarks that put the face elsewhere than the detector did are not trusted: least overlap of the two boxes.
_LEAST_IOU = 0.4
# Faces rolled by more radians are levelled for the landmark network; side of that crop in sides of the box, its pixels.
_ROLLED, _ROOM, _PATCH = 0.2, 1.6, (16, 256)


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
    detector, landmarks, aligns
        As given; without landmarks nothing is aligned.
    """

    def __init__(self, detector: Detector, landmarks: LandmarkDetector | None = None, aligns: bool = True) -> None:
        self.detector, self.landmarks = named(detector), None if landmarks is None else named(landmarks)
        self.name, self.aligns = self.detector.name, aligns and landmarks is not None

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
            If a detector of the user's answers with something else than a list of detections, or with a box or a
            score that is not finite.
        """
        detections = self.detector.detect(image)
        if not isinstance(detections, Sequence) or not all(hasattr(one, "box") for one in detections):
            raise InvalidInput(f"expected a list of Detection from {self.name}, got {detections!r:.200}")
        for detection in detections:
            if not np.isfinite(detection.box).all():
                raise InvalidInput(f"expected finite face boxes from {self.name}, got {tuple(detection.box)}")
            if not math.isfinite(getattr(detection, "score", 0.0)):
                raise InvalidInput(f"expected finite scores from {self.name}, got {detection.score}")
        return list(detections)

    def place(self, image: Image, detections: Sequence[Detection]) -> list[Found]:
        """The detections with their points; boxes laid anew where that is asked for and the points are there."""
        placed = []
        rolls = [math.radians(detection.roll_deg or 0.0) for detection in detections]
        seen = self.look(image, [detection.box for detection in detections], rolls)
        for detection, points in zip(detections, seen, strict=True):
            believed = points is not None and box_of(points).iou(detection.box) >= _LEAST_IOU
            own = points if believed else None
            box = box_of(own) if own is not None and self.aligns else detection.box
            placed.append(Found(box, own, detection.score))
        return placed

    def look(self, image: Image, boxes: Sequence[Box], rolls: Sequence[float] = ()) -> list[Points | None]:
        """Points [68, 2] of the faces in boxes of the detectors' convention; None where none is seen.

        A face that is rolled, by what is known (``rolls``, radians) or by what is found, is looked at once levelled:
        landmark networks see upright faces best.

        Raises
        ------
        InvalidInput
            If a landmark detector of the user's answers with something else.
        """
        known = rolls or [0.0] * len(boxes)
        first = [angle if abs(angle) > _ROLLED else 0.0 for angle in known]
        seen = self._points(image, boxes, first)
        for index, points in enumerate(seen):
            if points is not None and not first[index] and abs(roll(points)) > _ROLLED:
                (again,) = self._points(image, [box_of(points)], [roll(points)])
                seen[index] = points if again is None else again
        return seen

    def _points(self, image: Image, boxes: Sequence[Box], angles: Sequence[float]) -> list[Points | None]:
        """Points of the faces, each looked at in a picture that is turned by its angle, all in one call."""
        if self.landmarks is None:
            return [None] * len(boxes)
        cuts = [_levelled(image, box, angle) for box, angle in zip(boxes, angles, strict=True)]
        found = faces_landmarks.find_all(self.landmarks, [(picture, inside) for picture, inside, _ in cuts])
        return [
            None if np.isnan(points).any() else points if region is None else _turned_back(points, region, picture)
            for points, (picture, _, region) in zip(found, cuts, strict=True)
        ]


def _levelled(image: Image, box: Box, angle: float) -> tuple[Image, Box, regions.Region | None]:
    """The picture in which a rolled face stands upright, where it lies there, and what of the image it is."""
    if not angle:
        return image, box, None
    region = regions.Region(*box.centre, _ROOM * max(box.width, box.height), angle)
    size = int(np.clip(round(region.side), _PATCH[0], _PATCH[1]))
    return regions.cut(image, region, size), regions.box_in_crop(box, region, size), region


def _turned_back(points: Points, region: regions.Region, picture: Image) -> Points:
    return regions.points_in_frame(points, region, len(picture))


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
        As :func:`~dfer_edge.faces.make_detector` and :func:`~dfer_edge.faces.landmarks.make_laying_detector` take them.
        Without a landmark detector boxes stay the face detector's, and it is run on each frame.

    Raises
    ------
    InvalidInput, WeightsNotFound, CorruptArtifact, EngineUnavailable
    """
    found = make_detector(detector)
    landmarks = make_laying_detector(landmark_detector, threads)
    return FaceFinder(found, landmarks, spec.face_box == "landmarks"), landmarks if spec.landmarks else None
