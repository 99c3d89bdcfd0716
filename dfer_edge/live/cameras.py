"""Devices behind one class: OpenCV for cameras and addresses, GStreamer through OpenCV or its own command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dfer_edge.errors import EngineUnavailable, InvalidInput, SourceLost
from dfer_edge.sources.redaction import redacted
from dfer_edge.types import Image

# Reads in a row that may fail, and what an answer without waiting is.
_FAILURES, _AT_ONCE_S = 4, 0.5


def is_capture(source: Any) -> bool:
    """Whether this is an open ``cv2.VideoCapture`` or looks like one."""
    return callable(getattr(source, "read", None)) and callable(getattr(source, "isOpened", None))


def plays_file(capture: Any) -> bool:
    """Whether a ``cv2.VideoCapture`` reads a file, which has an end and a clock of its own, and no camera."""
    import cv2

    get = getattr(capture, "get", None)
    return callable(get) and float(get(cv2.CAP_PROP_FRAME_COUNT)) > 0


def is_pipeline(source: str) -> bool:
    """Whether this is a GStreamer pipeline: elements with ``!`` between them."""
    return " ! " in source


class Camera:
    """An open device; frames are read by one thread, ``close`` may come from another.

    Raises
    ------
    SourceLost
        If it does not open: absent, busy, refused.
    EngineUnavailable
        For a pipeline where neither OpenCV has GStreamer nor ``gst-launch-1.0`` is installed.
    """

    def __init__(self, target: Any, name: str, stall_s: float) -> None:
        self._name = name
        self._capture: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        if isinstance(target, str) and is_pipeline(target) and not _opencv_has_gstreamer():
            self._process = _launch(target)
        else:
            self._capture = target if is_capture(target) else _opened(target, stall_s)
            if not self._capture.isOpened():
                raise SourceLost(f"expected a camera or stream that opens, got {redacted(name)}", _hint(target))

    def frames(self) -> Iterator[Image]:
        """RGB frames [H, W, 3] until the device gives no more; single frames that do not decode are passed over."""
        import cv2

        if self._process is not None:
            yield from _y4m_frames(self._process)
            return
        failures = 0
        while not self._is_closed and failures < _FAILURES:
            begin = time.monotonic()
            found, image = self._capture.read()
            if not found:
                # A damaged frame fails at once and the next one is good; who waited in vain has lost the device.
                failures = failures + 1 if time.monotonic() - begin < _AT_ONCE_S else _FAILURES
                continue
            failures = 0
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    @property
    def position_s(self) -> float:
        """Presentation time of the last frame of a file."""
        import cv2

        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3

    def close(self) -> None:
        """Ends ``frames`` at its next frame, a pipeline at once; a second call does nothing."""
        self._is_closed = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def release(self) -> None:
        """Give the device back; only the thread that reads may, OpenCV crashes otherwise."""
        self.close()
        if self._capture is not None:
            self._capture.release()


def _hint(target: Any) -> str:
    """What to try where a target does not open."""
    if isinstance(target, str) and is_pipeline(target):
        return "does gst-launch-1.0 run it?"
    if isinstance(target, str) and "://" in target:
        return "does the address answer, and are user name and password right?"
    return "is it there, may you read it, and does no other program hold it?"


def _opened(target: str | int, stall_s: float) -> Any:
    import cv2

    # The decoder's own complaints name the address with its password; ours do not.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if isinstance(target, str) and is_pipeline(target):
        return cv2.VideoCapture(target, cv2.CAP_GSTREAMER)
    if isinstance(target, str) and "://" in target:
        patience = round(stall_s * 1000)
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience]
        # Named, so that no other reader of OpenCV tries, fails and prints the address.
        return cv2.VideoCapture(target, cv2.CAP_FFMPEG, options)
    device = int(target.removeprefix("/dev/video")) if isinstance(target, str) else target
    capture = cv2.VideoCapture(device)
    # One frame in the driver's queue: older ones only add latency. Drivers may ignore it.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _opencv_has_gstreamer() -> bool:
    import cv2

    # Its list also names back ends that could be plugged in.
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def _launch(pipeline: str) -> subprocess.Popen[bytes]:
    """The pipeline in GStreamer's own command, its frames as YUV4MPEG2 on a pipe."""
    program = shutil.which("gst-launch-1.0")
    if program is None:
        raise EngineUnavailable(
            "a GStreamer pipeline needs OpenCV with GStreamer or gst-launch-1.0, and neither is installed",
            "apt install gstreamer1.0-tools gstreamer1.0-plugins-good",
        )
    elements = pipeline.split(" ! ")
    if elements[-1].split()[0] == "appsink":
        elements = elements[:-1]
    sink = ["videoconvert", "video/x-raw,format=I420", "y4menc", "fdsink fd=1 sync=false"]
    words = shlex.split(" ! ".join([*elements, *sink]))
    return subprocess.Popen([program, "-q", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603


def _y4m_frames(process: subprocess.Popen[bytes]) -> Iterator[Image]:
    import cv2

    pipe = process.stdout
    if pipe is None or not (header := pipe.readline().split()):
        raise SourceLost("expected a GStreamer pipeline that gives video, got one that ends at once", "run it by hand")
    fields = {part[:1]: part[1:] for part in header[1:]}
    width, height = int(fields[b"W"]), int(fields[b"H"])
    if width % 2 or height % 2:
        raise InvalidInput(f"expected a pipeline of even width and height, got {width}x{height}", "add videoscale")
    while pipe.readline().startswith(b"FRAME"):
        planes = pipe.read(width * height * 3 // 2)
        if len(planes) < width * height * 3 // 2:
            return
        flat = np.frombuffer(planes, np.uint8).reshape(height * 3 // 2, width)
        yield np.asarray(cv2.cvtColor(flat, cv2.COLOR_YUV2RGB_I420), np.uint8)
