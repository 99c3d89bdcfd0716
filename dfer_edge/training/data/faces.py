"""Face crops of data sets that hold whole frames, and landmarks where the network needs them: as at inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfer_edge import preprocess
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.inference.keypoint_graph import fill_missing
from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.samples import UnreadableClip
from dfer_edge.types import Box, Image, Points


class FaceCropper:
    """Cuts the largest face out of each frame and finds its landmarks.

    Parameters
    ----------
    spec
        Size and face margin: the crops are those that inference would make.
    detector
        Finds faces; None if frames are crops already.
    landmark_detector
        Finds the 68 points on the crops; None for networks that take none.
    """

    def __init__(
        self, spec: ModelSpec, detector: Detector | None = None, landmark_detector: LandmarkDetector | None = None
    ) -> None:
        self._spec, self._detector, self._landmark_detector = spec, detector, landmark_detector

    def crop(self, frames: Sequence[Image], cropped: bool) -> tuple[list[Image], Points | None]:
        """Crops and landmarks [T, 68, 2] in their pixels (None without a landmark detector).

        A frame without a face takes the box of the frame nearest in time that has one.

        Raises
        ------
        UnreadableClip
            If no frame shows a face.
        """
        if cropped or self._detector is None:
            size = self._spec.size
            inside = preprocess.square(Box(0, 0, size, size), 1 / self._spec.face_margin)
            return list(frames), self._points_of_crops(frames, inside)
        boxes = _without_gaps([self._largest(frame) for frame in frames])
        crops = [preprocess.face_crop(frame, box, self._spec) for frame, box in zip(frames, boxes, strict=True)]
        regions = [preprocess.square(box, self._spec.face_margin) for box in boxes]
        insides = [preprocess.box_in_crop(b, r, self._spec.size) for b, r in zip(boxes, regions, strict=True)]
        return crops, self._points(crops, insides)

    def _largest(self, frame: Image) -> Box | None:
        assert self._detector is not None  # noqa: S101 - checked by the caller
        found = self._detector.detect(frame)
        return max((face.box for face in found), key=lambda box: box.area, default=None)

    def _points_of_crops(self, frames: Sequence[Image], inside: Box) -> Points | None:
        # Crops from elsewhere are taken to have the margin that ours have.
        insides = []
        for frame in frames:
            across, down = frame.shape[1] / self._spec.size, frame.shape[0] / self._spec.size
            insides.append(Box(inside.left * across, inside.top * down, inside.right * across, inside.bottom * down))
        return self._points(frames, insides)

    def _points(self, crops: Sequence[Image], insides: Sequence[Box]) -> Points | None:
        if self._landmark_detector is None:
            return None
        pairs = zip(crops, insides, strict=True)
        found = np.stack([faces_landmarks.find(self._landmark_detector, crop, inside) for crop, inside in pairs])
        return fill_missing(found, crops[0].shape[1]).astype(np.float32)


def _without_gaps(boxes: Sequence[Box | None]) -> list[Box]:
    known = [index for index, box in enumerate(boxes) if box is not None]
    if not known:
        raise UnreadableClip("expected a face in the clip, the detector found none")
    nearest = (min(known, key=lambda index: abs(index - place)) for place in range(len(boxes)))
    return [box for index in nearest if (box := boxes[index]) is not None]
