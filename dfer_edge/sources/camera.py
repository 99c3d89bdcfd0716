"""Cameras by index, through OpenCV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources.frames import Source, checked
from dfer_edge.types import NOMINAL_RATE, Frame

# OpenCV takes the hundreds for its own backends, and ends the process for negative ones.
_MOST = 99


def require_index(index: int) -> None:
    """Raises InvalidInput for what is no index of a camera, present or not."""
    if not 0 <= index <= _MOST:
        raise InvalidInput(f"expected the index of a camera, 0 to {_MOST}, got {index}")


class CameraSource(Source):
    """A camera of this machine, opened when its frames are asked for; it need not end.

    Raises
    ------
    InvalidInput
        For an index that is none, or a camera that does not open.
    """

    live = True

    def __init__(self, index: int) -> None:
        self.name = f"camera {index}"
        present = sorted(int(path.name[5:]) for path in Path("/dev").glob("video*") if path.name[5:].isdigit())
        require_index(index)
        if sys.platform == "linux" and index not in present:
            there = ", ".join(map(str, present)) or "none"
            raise InvalidInput(f"expected the index of a camera, got {index}; cameras of this machine: {there}")
        self._index = index

    def __iter__(self) -> Iterator[Frame]:
        import cv2

        capture = cv2.VideoCapture(self._index)
        if not capture.isOpened():
            raise InvalidInput(f"expected a camera that opens, got {self.name}")
        index, start, last = 0, 0.0, -1.0
        try:
            while True:
                decoded, image = capture.read()
                if not decoded:
                    raise InvalidInput(f"expected more frames of {self.name}, it stopped after {index}")
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                start = stamp if index == 0 else start
                time_s = stamp - start if stamp - start > last else last + 1 / NOMINAL_RATE
                yield Frame(checked(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), self.name), index, time_s)
                index, last = index + 1, time_s
        finally:
            capture.release()
