"""What changed in the picture, from a few thousand of its pixels: cuts, motion, and whether a face moved at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.types import Box, Image

Grey = npt.NDArray[np.float32]

# Cells of a frame's longer side and of a face's, and pixels along a cell that are read at most: noise averages out.
_CELLS, _FACE_CELLS, _READ, _FACE_READ = 48, 8, 3, 6
# A cut: the picture differs by this many grey levels in the mean, and no longer resembles the one before. A flash or
# a change of exposure keeps the pattern, camera motion most of it.
_CUT_LEVELS, _CUT_ALIKE = 10.0, 0.6
# A face may become lighter or darker by this much without having moved.
_LIGHT_LEVELS = 20.0
# Cells that differ by this much have moved; noise and compression stay below.
_MOVED_LEVELS = 10.0


def shrunk(image: Image, cells: int, most: int) -> Grey:
    """Mean grey of cells, the longer side ``cells``; along each side of one ``most`` pixels are read."""
    height, width = image.shape[:2]
    scale = min(1.0, cells * most / max(height, width))
    read = cv2.resize(image, _sides(width, height, scale), interpolation=cv2.INTER_NEAREST)
    sides = _sides(width, height, cells / max(height, width))
    # Grey last: of a few pixels it is not worth OpenCV's threads.
    return cv2.cvtColor(cv2.resize(read, sides, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)


def _sides(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def alike(first: Grey, second: Grey) -> float:
    """Correlation of two pictures of one shape, -1 to 1; two even ones are alike."""
    a, b = (first - first.mean()).ravel(), (second - second.mean()).ravel()
    power = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / power if power > 1e-3 * a.size else 1.0


class Scene:
    """The picture against the one before and against the one in which faces were last looked for."""

    def __init__(self) -> None:
        self._last: Grey | None = None
        self._searched: Grey | None = None
        self._shape: tuple[int, ...] = ()

    def see(self, image: Image) -> bool:
        """Take the next frame; whether it begins another scene (another size does too)."""
        now, last = shrunk(image, _CELLS, _READ), self._last
        same_size, self._shape, self._last = self._shape == image.shape, image.shape, now
        if last is None or not same_size:
            return True
        return float(np.abs(now - last).mean()) > _CUT_LEVELS and alike(now, last) < _CUT_ALIKE

    def searched(self) -> None:
        """Faces have been looked for in this frame."""
        self._searched = self._last

    def moved(self, faces: Sequence[Box]) -> float:
        """Share of the picture, without ``faces`` and the bodies below, that changed since the last search, 0 to 1."""
        assert self._last is not None  # noqa: S101 - see comes first
        if self._searched is None or self._searched.shape != self._last.shape:
            return 1.0
        change = np.abs(self._last - self._searched)
        scale = max(change.shape) / max(self._shape[:2])
        for box in faces:
            left, right = ((edge * scale) for edge in (box.left - box.width / 2, box.right + box.width / 2))
            top = (box.top - box.height / 2) * scale
            change[max(0, int(top)) :, max(0, int(left)) : max(0, int(right) + 1)] = 0
        return float((change > _MOVED_LEVELS).mean())


class Patch:
    """The pixels of a face at one moment, to tell later whether it still looks the same in the same place."""

    def __init__(self, image: Image, box: Box) -> None:
        height, width = image.shape[:2]
        left, top, right, bottom = box.rounded()
        self._rows = slice(min(max(top, 0), height - 1), max(min(bottom, height), 1))
        self._columns = slice(min(max(left, 0), width - 1), max(min(right, width), 1))
        self._grey = self._read(image)

    def _read(self, image: Image) -> Grey:
        region = image[self._rows, self._columns]
        return shrunk(region, _FACE_CELLS, _FACE_READ) if region.size else np.zeros((1, 1), np.float32)

    def change(self, image: Image) -> tuple[float, float]:
        """Mean difference now, in grey levels without a moderate one of the light, and the likeness, -1 to 1."""
        now = self._read(image)
        difference = now - self._grey
        light = min(max(float(difference.mean()), -_LIGHT_LEVELS), _LIGHT_LEVELS)
        return float(np.abs(difference - np.float32(light)).mean()), alike(now, self._grey)
