"""How the frames of a call become crops: who follows the faces, and who cuts windows out of what is followed."""

from __future__ import annotations

import dataclasses

import numpy as np

from dfer_edge.errors import InvalidInput, WeightsNotFound
from dfer_edge.faces import FaceFinder, FaceFollower, LandmarkDetector
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.crops import CroppedFace, GivenPoints
from dfer_edge.faces.prepared import FaceStore
from dfer_edge.flow.call_checks import checked_landmarks
from dfer_edge.flow.pipeline import Tracker, WholeFrame, Windower, WindowPlan
from dfer_edge.live.tracking import Watching
from dfer_edge.signals import Listening, SignalReader
from dfer_edge.sources.frames import Source
from dfer_edge.spec import ModelSpec
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Points


@dataclasses.dataclass(frozen=True)
class Framing:
    """What a recogniser's calls have in common.

    Attributes
    ----------
    spec
        Of the network.
    finder
        Finds faces, and landmarks where it has them.
    landmark_detector
        For networks that take landmarks.
    signals
        Whether signals are read off the landmarks.
    store
        Where the faces of files are kept; None finds them each time.
    """

    spec: ModelSpec
    finder: FaceFinder
    landmark_detector: LandmarkDetector | None
    signals: bool
    store: FaceStore | None = None

    def tracker(self, source: Source, faces: str, landmarks: Points | None) -> tuple[Tracker, SignalReader | None]:
        """A tracker for a source, and what reads signals off it if they are asked for.

        Raises
        ------
        InvalidInput
            For ``faces`` that are neither.
        """
        if faces not in ("detect", "cropped"):
            raise InvalidInput(f'expected faces "detect" or "cropped", got {faces!r}')
        tracker: Tracker
        if faces == "cropped":
            tracker = self._crop_tracker(landmarks)
        else:
            tracker = FaceFollower(self.finder) if self.store is None else self.store.tracker(source)
        if not self.signals:
            return tracker, None
        reader = SignalReader()
        return Listening(tracker, reader, landmarks), reader

    def windower(
        self, plan: WindowPlan, watch: Stopwatch, source: Source, faces: str, landmarks: Points | None
    ) -> Windower:
        """What cuts windows for the network.

        Raises
        ------
        InvalidInput
            For landmarks that do not fit.
        WeightsNotFound
            If the network takes landmarks and there are neither landmarks nor a landmark detector.
        """
        cropped = faces == "cropped" and not self._lays_crops(landmarks)
        takes = self.spec.landmarks or (faces_landmarks.COUNT if faces == "cropped" and not cropped else 0)
        points = None if landmarks is None else checked_landmarks(landmarks, takes, source)
        if self.spec.landmarks and points is None and self.landmark_detector is None:
            what = f"{self.spec.name} takes {self.spec.landmarks} landmarks a frame"
            raise WeightsNotFound(f"{what}: expected them or a landmark detector, got neither", faces_landmarks.CHOICES)
        return Windower(self.spec, plan, watch, cropped, points, self.landmark_detector)

    def watching(self, faces: str) -> Watching:
        """A tracker for a stream."""
        tracker: Tracker = FaceFollower(self.finder) if faces == "detect" else self._crop_tracker(None)
        return Watching(
            tracker, SignalReader() if self.signals else None, faces == "cropped" and not self._lays_crops(None)
        )

    def _crop_tracker(self, landmarks: Points | None) -> Tracker:
        if landmarks is not None and self._lays_crops(landmarks):
            return GivenPoints(np.asarray(landmarks, np.float32))
        if self.finder.landmarks is not None and self._lays_crops(landmarks):
            return CroppedFace(self.finder.landmarks, self.spec)
        return WholeFrame(self.finder.landmarks, self.spec.face_margin) if self.signals else WholeFrame()

    def _lays_crops(self, landmarks: Points | None) -> bool:
        """Whether landmarks, given or found, lay the network's crop within face crops."""
        return self.spec.face_box == "landmarks" and (landmarks is not None or self.finder.landmarks is not None)
