"""Face boxes in the frames of data sets, and landmarks where the network needs them: as at inference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.aligned import FaceFinder
from dfer_edge.faces.crops import CroppedFace
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.faces.prepared import FaceStore, FileFaces, find_faces
from dfer_edge.flow import preprocess
from dfer_edge.inference.keypoint_graph import fill_missing
from dfer_edge.sources.opening import open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.samples import LostFace
from dfer_edge.types import Box, Image, Points


@dataclasses.dataclass(frozen=True)
class Found:
    """Where the face is in the frames of a clip.

    Attributes
    ----------
    boxes
        Of each frame; None if frames are face crops that the network reads as they are.
    landmarks
        float32 [T, 68, 2] in pixels of the frames; None for networks that take none.
    """

    boxes: tuple[Box, ...] | None
    landmarks: Points | None


class FaceCropper:
    """Finds the person seen longest, as inference does, and the landmarks on the crop that inference would make.

    Frames stay as they are: what is read of them is cut once, straight from them.

    Parameters
    ----------
    spec
        Size, face margin and box rule of the network.
    detector
        Finds faces; None if frames are crops already.
    landmark_detector
        Finds the 68 points on the crops; None for networks that take none.
    store
        Where faces of files are kept, so that they are found once. None follows everybody through the file each time.
    """

    def __init__(
        self,
        spec: ModelSpec,
        detector: Detector | None = None,
        landmark_detector: LandmarkDetector | None = None,
        store: FaceStore | None = None,
    ) -> None:
        self._store = store
        laying = landmark_detector or (detector.landmarks if isinstance(detector, FaceFinder) else None)
        # Levelled crops need the points too.
        self._spec = spec
        if detector is None or isinstance(detector, FaceFinder):
            self._finder: FaceFinder | None = detector
        else:
            self._finder = FaceFinder(detector, aligns=False)
        self._landmark_detector = laying if spec.level else landmark_detector
        self._only_levels = spec.level and landmark_detector is None
        self._in_crops = CroppedFace(laying, spec) if laying and spec.face_box == "landmarks" else None

    def find(self, frames: Sequence[Image], cropped: bool) -> Found:
        """Boxes and landmarks of a clip.

        A frame without the face takes the box of the frame nearest in time that has it.

        Raises
        ------
        LostFace
            If no frame shows a face.
        """
        if cropped or self._finder is None:
            return self._find_in_crops(frames)
        return self._of(find_faces(open_source(list(frames)), self._finder), range(len(frames)), frames)

    def _find_in_crops(self, frames: Sequence[Image]) -> Found:
        if self._in_crops is None:
            return Found(None, self._points(frames, None))
        boxes, points = zip(*(self._in_crops.place(frame) for frame in frames), strict=True)
        if self._only_levels:
            return Found(boxes, np.stack([faces_landmarks.lost() if found is None else found for found in points]))
        return Found(boxes, self._points(frames, boxes))

    def find_in(self, path: Path, positions: Sequence[int], frames: Sequence[Image], cropped: bool) -> Found:
        """:meth:`find` for the frames at ``positions`` of a file, in which everybody is followed from the start.

        Raises
        ------
        LostFace
            If no frame of the file shows a face.
        DferError
            If the store cannot be written.
        """
        if cropped or self._finder is None:
            return self.find(frames, cropped)
        kept = find_faces(open_source(path), self._finder) if self._store is None else self._store.obtain(path)
        return self._of(kept, positions, frames)

    def _of(self, found: FileFaces, positions: Sequence[int], frames: Sequence[Image]) -> Found:
        """Of the person seen longest."""
        if not found.tracks:
            raise LostFace("expected a face in the clip, the detector found none")
        boxes, points = zip(*(found.tracks[0].at(position) for position in positions), strict=True)
        if self._landmark_detector is None:
            return Found(boxes, None)
        known = np.stack([faces_landmarks.lost() if own is None else own for own in points])
        height, width = frames[0].shape[:2]
        filled = fill_missing(known, max(height, width)) if np.isfinite(known).any() else None
        return Found(boxes, self._points(frames, boxes) if filled is None else filled.astype(np.float32))

    def _points(self, frames: Sequence[Image], boxes: Sequence[Box] | None) -> Points | None:
        """Found where inference finds them, on the network's crops, and moved into the frames."""
        if self._landmark_detector is None:
            return None
        size, found, regions = self._spec.size, [], []
        for number, frame in enumerate(frames):
            box = None if boxes is None else boxes[number]
            region = preprocess.region(box or preprocess.frame_box(frame), self._spec, cropped=box is None)
            inside = preprocess.inside_crop(self._spec) if box is None else preprocess.box_in_crop(box, region, size)
            crop = preprocess.cut(frame, region, size)
            found.append(faces_landmarks.find(self._landmark_detector, crop, inside))
            regions.append(region)
        filled = fill_missing(np.stack(found), size)
        moved = [preprocess.points_in_frame(p, region, size) for p, region in zip(filled, regions, strict=True)]
        return np.stack(moved).astype(np.float32)
