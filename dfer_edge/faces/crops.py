"""Frames that are face crops already: where in them the face lies, for networks whose crops landmarks lay.

Nobody agrees on what a face crop is. A box of landmarks is the same for a tight crop, a detector's box and a loose one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces import regions
from dfer_edge.faces.aligned import box_of
from dfer_edge.faces.detectors import named
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Detection, Frame, Image, Points, TrackedFace

# Share of the frame's shorter side that a face box is first taken to have, and a second time if the first finds none:
# crops are cut around the box, or inside it.
_FIRST_LOOKS = (0.9, 0.7, 1.2)
# Height of a face box against the frame's that is believed: 0.75 boxes are our tightest crop.
_BELIEVED = (0.25, 1.7)
# A square frame whose own crop would overlap it by this much is that crop: cutting it again only adds error. (Of 46
# stills, 41 are right in their own crops and 38 in crops laid in those; the least overlap there is 0.75.)
_OWN_IOU = 0.7
_SQUARE = 0.05


class CroppedFace:
    """The face of face crops, its box laid by landmarks, frame by frame: a detector and a tracker in one.

    The box is such that the network reads all of the frame where landmarks find no face, and where the frame is the
    network's own crop already.

    Parameters
    ----------
    landmarks
        Finds the 68 points.
    spec
        Of the network: how much around the box it reads.
    """

    def __init__(self, landmarks: LandmarkDetector, spec: ModelSpec) -> None:
        self.landmarks, self._margin = named(landmarks), spec.face_margin * spec.crop_share
        self.name = f"face crops, laid by {self.landmarks.name}"

    def detect(self, image: Image) -> list[Detection]:
        """See :class:`dfer_edge.faces.Detector`."""
        return [Detection(self.place(image)[0], 1.0)]

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """Every frame with one face."""
        for frame in frames:
            yield frame, (TrackedFace(0, *self.place(frame.image)),)

    def place(self, image: Image) -> tuple[Box, Points | None]:
        """Box of the face and its points [68, 2]; all of the frame and None where none are found."""
        frame = regions.frame_box(image)
        whole = regions.square(frame, 1 / self._margin)
        for share in _FIRST_LOOKS:
            points = self._believed(image, _central(frame, share))
            if points is not None:
                # A second look from where the face is: the first came from a guess.
                better = self._believed(image, box_of(points))
                points = points if better is None else better
                box = box_of(points)
                is_own = regions.square(box, self._margin).iou(frame) >= _OWN_IOU
                return whole if is_own and abs(frame.width / frame.height - 1) <= _SQUARE else box, points
        return whole, None

    def _believed(self, image: Image, box: Box) -> Points | None:
        points = faces_landmarks.find(self.landmarks, image, box)
        if np.isnan(points).any():
            return None
        laid, (height, width) = box_of(points), image.shape[:2]
        x, y, share = (laid.left + laid.right) / 2, (laid.top + laid.bottom) / 2, laid.height / min(height, width)
        inside = 0 <= x <= width and 0 <= y <= height and _BELIEVED[0] <= share <= _BELIEVED[1]
        return points if inside else None


def _central(frame: Box, share: float) -> Box:
    """A square in the middle of the frame, of a share of its shorter side."""
    return regions.square(frame, share * min(frame.width, frame.height) / max(frame.width, frame.height))


class GivenPoints:
    """The tracker of face crops whose landmarks are given: one person, boxes laid by the points of each frame.

    Parameters
    ----------
    points
        float32 [frames, 68, 2] in pixels of the frames.
    """

    def __init__(self, points: Points) -> None:
        self._points = points

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """Every frame with one face."""
        for frame in frames:
            # Too few points are an error of the caller's, said where frames are collected.
            points = self._points[min(frame.index, len(self._points) - 1)]
            yield frame, (TrackedFace(0, box_of(points), points),)
