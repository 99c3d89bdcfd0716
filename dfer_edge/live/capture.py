"""What a stream can be made of, behind one small class: cameras, addresses, pipelines, iterators, files, arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.live.cameras import Camera, is_capture, is_pipeline, plays_file
from dfer_edge.sources.camera import require_index
from dfer_edge.sources.frames import Source, checked
from dfer_edge.sources.opening import open_source
from dfer_edge.sources.redaction import redacted
from dfer_edge.types import Frame, Image

Item = tuple[Image, float | None]
"""A frame, uint8 RGB [H, W, 3], and its presentation time in seconds, None where only the time of arrival is known."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DEVICE = re.compile(r"/dev/video\d+")


class Feed:
    """Frames of one source, once through or, of a live one, as often as it is opened.

    Attributes
    ----------
    name
        For messages and observations, without credentials.
    live
        Frames come at their own time; those that nobody waits for may be dropped.
    reopens
        Opening it again may help.
    """

    live = False
    reopens = False

    def __init__(self, name: str) -> None:
        self.name = redacted(name)

    def items(self) -> Iterator[Item]:
        """Frames in order."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the device back; ``items`` of another thread ends soon after."""


class CameraFeed(Feed):
    """A camera, an address, a GStreamer pipeline or an open ``cv2.VideoCapture``; one of a file is no live source."""

    def __init__(self, target: Any, name: str | None = None, stall_s: float = 5.0) -> None:
        super().__init__(name if name is not None else "VideoCapture" if is_capture(target) else str(target))
        if isinstance(target, int):
            require_index(target)
        elif isinstance(target, str) and _DEVICE.fullmatch(target):
            require_index(int(target.removeprefix("/dev/video")))
        self.reopens = not is_capture(target)
        self.live = self.reopens or not plays_file(target)
        self._target, self._stall_s = target, stall_s
        self._camera: Camera | None = None

    def items(self) -> Iterator[Item]:
        """Frames until the device gives no more; see :class:`Feed`."""
        self._camera = camera = Camera(self._target, self.name, self._stall_s)
        try:
            for image in camera.frames():
                yield checked(image, f"a frame of {self.name}"), None if self.live else camera.position_s
        finally:
            camera.release()

    def close(self) -> None:
        """See :class:`Feed`."""
        if self._camera is not None:
            self._camera.close()


class IterableFeed(Feed):
    """Frames, ``(frame, time_s)`` pairs or :class:`~dfer_edge.types.Frame` of any iterator."""

    def __init__(self, iterable: Iterable[Any], name: str | None = None, rate: float | None = None) -> None:
        super().__init__(name if name is not None else type(iterable).__name__)
        self._iterable, self._rate = iterable, rate
        # `live` of an iterable that knows better, e.g. a queue of a robot.
        self.live = bool(getattr(iterable, "live", False))

    def items(self) -> Iterator[Item]:
        """See :class:`Feed`."""
        for index, item in enumerate(self._iterable):
            image, time_s = _unpacked(item, index)
            if time_s is None and self._rate:
                time_s = index / self._rate
            yield checked(image, f"frame {index} of {self.name}"), time_s


class SourceFeed(Feed):
    """Files, folders and arrays: every frame at its presentation time."""

    def __init__(self, source: Source, name: str | None = None, rate: float | None = None) -> None:
        super().__init__(name if name is not None else source.name)
        self.source, self._rate = source, rate
        self.live = bool(getattr(source, "live", False))

    def items(self) -> Iterator[Item]:
        """See :class:`Feed`."""
        for frame in self.source:
            nominal = frame.index / self._rate if self._rate and frame.time_s is None else frame.clock_s
            yield frame.image, nominal


def open_feed(source: Any, name: str | None = None, stall_s: float = 5.0, rate: float | None = None) -> Feed:
    """The feed of one source.

    Parameters
    ----------
    source
        A camera index (0 or ``"0"``), ``"/dev/video0"``, an address (rtsp, http, MJPEG), a GStreamer pipeline, an open
        ``cv2.VideoCapture``, a file or folder, an array, or an iterable of frames, (frame, time_s) pairs or Frames.
    name
        Instead of its own.
    stall_s
        Seconds that a live source may take to open or to give a frame.
    rate
        Frames a second of a source without a clock.

    Raises
    ------
    SourceNotFound, InvalidInput
    """
    if isinstance(source, Feed):
        source.name = source.name if name is None else name
        return source
    if isinstance(source, str) and (target := _live_target(source)) is not None:
        return CameraFeed(target, name if name is not None else source, stall_s)
    if (isinstance(source, int) and not isinstance(source, bool)) or is_capture(source):
        return CameraFeed(source, name, stall_s)
    if isinstance(source, (str, os.PathLike, np.ndarray, Source)) or _is_list(source):
        return SourceFeed(open_source(source), name, rate)
    if isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray, Mapping)):
        return IterableFeed(source, name, rate)
    kinds = "a path, a camera index, an address, a VideoCapture, frames or an iterator of frames"
    raise InvalidInput(f"expected {kinds}; got {redacted(repr(source)[:80])}")


def open_feeds(sources: Any, stall_s: float = 5.0, rate: float | None = None) -> list[Feed]:
    """The feeds of one source, of a list of sources, or of a mapping from names to sources.

    Raises
    ------
    SourceNotFound, InvalidInput
    """
    named: list[tuple[str | None, Any]]
    if isinstance(sources, Mapping):
        named = [(str(name), source) for name, source in sources.items()]
    elif _is_list(sources) and len(sources) and all(_is_source(entry) for entry in sources):
        named = [(None, source) for source in sources]
    else:
        named = [(None, sources)]
    if not named:
        raise InvalidInput("expected at least one source, got none")
    feeds = [open_feed(source, name, stall_s, rate) for name, source in named]
    names = [feed.name for feed in feeds]
    for number, feed in enumerate(feeds):
        if names.count(feed.name) > 1:
            feed.name = f"{names[number]}#{number}"
    return feeds


def _live_target(source: str) -> str | int | None:
    """What to open for a string that names something live; None for paths."""
    if re.fullmatch(r"\d{1,3}", source) and not Path(source).exists():
        return int(source)
    if _DEVICE.fullmatch(source) or is_pipeline(source):
        return source
    if _URL.match(source):
        scheme, rest = source.split("://", 1)
        return f"{scheme.lower()}://{rest}"
    return None


def _is_list(source: Any) -> bool:
    return isinstance(source, Sequence) and not isinstance(source, (str, bytes, bytearray))


def _is_source(entry: Any) -> bool:
    """Whether an entry of a list is a source of its own, not a frame."""
    if isinstance(entry, np.ndarray):
        return entry.ndim == 4
    return not isinstance(entry, (Frame, tuple))


def _unpacked(item: Any, index: int) -> tuple[Any, float | None]:
    if isinstance(item, Frame):
        return item.image, item.time_s
    if isinstance(item, tuple):
        if len(item) != 2 or isinstance(item[1], bool) or not isinstance(item[1], (int, float, np.number)):
            raise InvalidInput(f"expected frames or (frame, time_s) pairs, got a tuple of {len(item)} at frame {index}")
        return item[0], float(item[1])
    return item, None
