"""The overlay of a live stream: every frame as it comes, with what was last said of everyone; a window, a video."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from dfer_edge.errors import DferError, EngineUnavailable
from dfer_edge.live.frames import Captured
from dfer_edge.sinks.drawing import Figure, draw
from dfer_edge.sinks.video import VideoSink
from dfer_edge.types import Image, Observation, Prediction, TrackedFace

_TITLE = "dfer-edge"


class Overlay:
    """Draws the frames of one source of a stream; give ``on_frame`` to it, and its observations to ``write``.

    Parameters
    ----------
    show
        Gets each picture, uint8 RGB, and its time, in the stream's thread.
    source
        Name of the source; the first that comes if empty.
    note
        A line at the bottom of every picture.
    """

    def __init__(self, show: Callable[[Image, float], None], source: str = "", note: str = "") -> None:
        self._show, self._source, self._note = show, source, note
        self._last: dict[int, Prediction] = {}
        self._lock = threading.Lock()

    def write(self, observation: Observation) -> None:
        """See :class:`~dfer_edge.sinks.records.ObservationSink`."""
        if observation.has_face and observation.source == (self._source or observation.source):
            with self._lock:
                self._last[observation.track_id] = observation.prediction

    def on_frame(self, source: str, captured: Captured, faces: tuple[TrackedFace, ...]) -> None:
        """Draw a frame."""
        self._source = self._source or source
        if source != self._source:
            return
        with self._lock:
            here = {face.track_id for face in faces}
            self._last = {track_id: said for track_id, said in self._last.items() if track_id in here}
            figures = [Figure(face.track_id, face.box, self._last.get(face.track_id)) for face in faces]
        time_s = captured.frame.clock_s
        self._show(draw(captured.frame.image, figures, time_s, self._note), time_s)

    def close(self) -> None:
        """See :class:`~dfer_edge.sinks.records.ObservationSink`."""


class Window:
    """A window on the desktop; pictures come from any thread, ``poll`` from the main one.

    Raises
    ------
    EngineUnavailable
        If OpenCV has no windows or there is no desktop.
    """

    def __init__(self) -> None:
        self._picture: Image | None = None
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise EngineUnavailable(
                "a window needs a desktop and OpenCV with one", "pip install opencv-python, or --video FILE.mp4"
            ) from error

    def show(self, picture: Image, time_s: float) -> None:
        """Keep the newest picture."""
        self._picture = picture

    def poll(self) -> bool:
        """Draw the newest picture; False once the user pressed q or Escape."""
        if self._picture is not None:
            cv2.imshow(_TITLE, cv2.cvtColor(self._picture, cv2.COLOR_RGB2BGR))
        return (cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyWindow(_TITLE)


class VideoOverlay:
    """An overlay written to an MP4, which appears when it is closed.

    Raises
    ------
    DferError
        If there is no folder for it: said before the first frame.
    """

    def __init__(self, path: str | Path, source: str = "", note: str = "") -> None:
        if not Path(path).absolute().parent.is_dir():
            raise DferError(f"cannot write a video to {path}: there is no folder {Path(path).parent}", "make it first")
        # The finest grid of times that players take.
        self._sink = VideoSink(path, 240.0)
        self._overlay = Overlay(self._write, source, note)
        self.on_frame, self.write = self._overlay.on_frame, self._overlay.write
        self._first_s: float | None = None
        self._is_closed = False

    def _write(self, picture: Image, time_s: float) -> None:
        self._first_s = time_s if self._first_s is None else self._first_s
        self._sink.write(np.ascontiguousarray(picture), time_s - self._first_s)

    def close(self) -> None:
        """Finish the file; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._sink.__exit__(None, None, None)
