"""A scripted world: drawn people with looks of their own, a detector and landmarks that see who is not hidden."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from dfer_edge.faces import FaceFinder, FaceFollower
from dfer_edge.faces.geometry import ABOVE, HEIGHT, WIDTH
from dfer_edge.types import Box, Detection, Frame, Image, Points

Script = Callable[[float], dict[int, Box]]
"""Seconds to who is where; of two who overlap the later one is in front."""

# Of a hidden face less than this is left to see.
SEEN = 0.5


def points_of(box: Box) -> Points:
    """Landmarks whose box, by `dfer_edge.faces.aligned.box_of`, is ``box``."""
    s = box.width / WIDTH
    x, y = (box.left + box.right) / 2 - 0.5, (box.top + box.bottom) / 2 - 0.5 + ABOVE * s
    points = np.full((68, 2), (x, y), np.float32)
    points[36:42], points[42:48] = (x - s / 2, y - s / 2), (x + s / 2, y - s / 2)
    points[[48, 54]] = [(x - s / 3, y + s / 2), (x + s / 3, y + s / 2)]
    return points


def face_at(x: float, y: float, width: float = 60) -> Box:
    """A face whose middle is at (x, y)."""
    height = width * HEIGHT / WIDTH
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


class World:
    """Frames of a script, and what sees them.

    Attributes
    ----------
    searches, looks
        Calls of the detector; faces that the landmark network looked for.
    """

    name = "scripted"

    def __init__(self, script: Script, fps: float = 25, size: tuple[int, int] = (640, 360), background: int = 0):
        self._script, self.fps, self._size = script, fps, size
        self._background = self._texture(1000 + background, size, 12)
        self.searches = self.looks = 0
        self._seen: dict[int, Box] = {}

    @staticmethod
    def _texture(seed: int, size: tuple[int, int], cells: int) -> Image:
        noise = np.random.default_rng(seed).integers(30, 226, (cells, cells, 3), np.uint8)
        return cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)

    def frame(self, index: int, time_s: float | None = None) -> Frame:
        """The picture at a moment; the detector sees the one that was made last."""
        time_s = index / self.fps if time_s is None else time_s
        people = self._script(time_s)
        image = self._background.copy()
        for person, box in people.items():
            left, top, right, bottom = box.rounded()
            looks = self._texture(person, (right - left, bottom - top), 6)
            rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
            part = image[rows, columns]
            part[:] = looks[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
        self._seen = {person: box for person, box in people.items() if self._shows(person, people)}
        return Frame(image, index, time_s)

    def _shows(self, person: int, people: dict[int, Box]) -> bool:
        box, order = people[person], list(people)
        inside = Box(max(box.left, 0), max(box.top, 0), min(box.right, self._size[0]), min(box.bottom, self._size[1]))
        if inside.width <= 0 or inside.height <= 0 or inside.area < SEEN * box.area:
            return False
        fronts = [people[other] for other in order[order.index(person) + 1 :]]
        return all(covered(box, front) <= 1 - SEEN for front in fronts)

    def frames(self, seconds: float) -> Sequence[Frame]:
        return (self.frame(index) for index in range(round(seconds * self.fps)))

    def detect(self, image: Image, box: Box | None = None) -> list[Detection] | Points | None:
        """A detector without a box, a landmark detector with one."""
        if box is None:
            self.searches += 1
            return [Detection(seen, 0.9) for seen in self._seen.values()]
        self.looks += 1
        best = max(self._seen.values(), key=box.iou, default=None)
        return points_of(best) if best is not None and best.iou(box) > 0.25 else None

    def follower(self, aligns: bool = True) -> FaceFollower:
        return FaceFollower(FaceFinder(self, self, aligns))

    def who(self, faces: Sequence) -> dict[int, int]:
        """Person -> identity, for the faces reported in the newest frame."""
        found = {}
        for face in faces:
            person = max(self._seen, key=lambda one: self._seen[one].iou(face.box), default=-1)
            assert person >= 0, "a face where there is none"
            assert self._seen[person].iou(face.box) > 0.5, "a face where there is none"
            assert person not in found, "one face reported twice"
            found[person] = face.track_id
        return found


def covered(box: Box, front: Box) -> float:
    """Share of a box behind another."""
    width = min(box.right, front.right) - max(box.left, front.left)
    height = min(box.bottom, front.bottom) - max(box.top, front.top)
    return max(width, 0) * max(height, 0) / box.area
