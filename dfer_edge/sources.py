"""Sources: anything that gives frames, as an iterable of RGB :class:`~dfer_edge.types.Frame`.

Rotation metadata is applied by OpenCV's decoder. Times are presentation times, so variable frame rates are right.
Declared frame counts are hints for progress bars, never trusted: reading ends when decoding ends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfer_edge.containers import truncation
from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.types import NOMINAL_RATE, Frame, Image

# Below this a face cannot be seen, above it a frame is a mistake.
MIN_SIDE, MAX_SIDE = 16, 16384

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class Source:
    """Frames, once through.

    Attributes
    ----------
    name
        For messages.
    is_clip
        The frames are one clip without a clock (arrays, image folders), not to be cut in windows.
    in_memory
        The frames stay alive anyway, so keeping references costs nothing.
    length_hint
        Frames that the header declares, or None.
    """

    name: str = ""
    is_clip: bool = False
    in_memory: bool = False
    length_hint: int | None = None

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError


class ArraySource(Source):
    """A uint8 RGB array [T, H, W, 3] or a sequence of [H, W, 3]."""

    is_clip = in_memory = True

    def __init__(self, frames: Sequence[Any] | np.ndarray[Any, Any], name: str = "the array") -> None:
        self.name = name
        if isinstance(frames, np.ndarray) and frames.ndim != 4:
            raise InvalidInput(f"expected frames [T, H, W, 3], got an array of shape {frames.shape}")
        if len(frames) == 0:
            raise InvalidInput("expected at least one frame, got none")
        self._frames = [checked(frame, f"frame {index}") for index, frame in enumerate(frames)]
        self.length_hint = len(self._frames)
        _require_equal([frame.shape for frame in self._frames])

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(image, index) for index, image in enumerate(self._frames))


class FolderSource(Source):
    """A folder of images in natural order of their names, ``paths``; other files are passed over."""

    is_clip = True

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.is_file())
        self.paths = sorted(files, key=_natural)
        if not self.paths:
            raise InvalidInput(f"expected a folder with images ({', '.join(sorted(IMAGES))}), found none in {folder}")
        self.length_hint = len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        first: tuple[int, ...] | None = None
        for index, path in enumerate(self.paths):
            frame = _read_image(path)
            first = first or frame.shape
            if frame.shape != first:
                expected, actual = (f"{shape[1]}x{shape[0]}" for shape in (first, frame.shape))
                hint = "the images of a folder are the frames of one clip"
                raise InvalidInput(
                    f"expected images of one size, {expected} as the first; got {actual} in {path}", hint
                )
            yield Frame(frame, index)


class VideoSource(Source):
    """A video file, or with ``live`` a camera index or a stream's URL."""

    def __init__(self, target: str | int, live: bool = False) -> None:
        self.name, self._target, self.live = str(target), target, live
        # Kept for the first pass: opening a camera twice takes seconds.
        self._opened: cv2.VideoCapture | None = self._open()
        declared = int(self._opened.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length_hint = declared if declared > 0 and not live else None
        self._rate = self._opened.get(cv2.CAP_PROP_FPS) or NOMINAL_RATE

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._target)
        if not capture.isOpened():
            what = "camera or stream" if self.live else "video"
            raise InvalidInput(f"expected a {what} that opens, got {self.name}{_looks_like(self._target)}")
        return capture

    def __iter__(self) -> Iterator[Frame]:
        capture, self._opened = self._opened or self._open(), None
        try:
            yield from self._frames(capture)
        finally:
            capture.release()

    def _frames(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        index, start, last = 0, 0.0, -1.0
        while True:
            decoded, image = capture.read()
            if not decoded:
                break
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            start = stamp if index == 0 else start
            # A stamp that does not move forward is no clock: take the frame rate for this step.
            time_s = stamp - start if stamp - start > last else last + 1 / self._rate
            frame = checked(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), f"frame {index} of {self.name}")
            yield Frame(frame, index, time_s)
            index, last = index + 1, time_s
        if index == 0:
            raise InvalidInput(f"expected a video with frames, none decode in {self.name}")


def open_source(source: Any) -> Source:
    """The source of a path, a camera index, a URL, an array or a sequence of arrays.

    Parameters
    ----------
    source
        See :meth:`dfer_edge.Recognizer.predict`.

    Raises
    ------
    SourceNotFound
        If a path does not exist or cannot be read.
    InvalidInput
        For anything else that gives no frames.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, bool) or source is None or (isinstance(source, str) and not source):
        raise InvalidInput(f"expected a path, a camera index, a URL or frames; got {source!r}")
    if isinstance(source, int):
        return VideoSource(source, live=True)
    if isinstance(source, str) and re.match(r"[a-z][a-z0-9+.-]+://", source):
        return VideoSource(source, live=True)
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source))
    if isinstance(source, np.ndarray) or (isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray))):
        return ArraySource(source)
    raise InvalidInput(f"expected a path, a camera index, a URL or frames; got {type(source).__name__}")


def _open_path(path: Path) -> Source:
    try:
        found = path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise SourceNotFound(f"expected a path, got one that cannot be: {str(path)[:80]!r}: {error}") from error
    if not found:
        raise SourceNotFound(f"expected a video file or image folder, found nothing at {path}")
    if not os.access(path, os.R_OK):
        raise SourceNotFound(f"expected a readable path, no permission for {path}")
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise InvalidInput(f"expected a regular file or a folder, got {path}")
    if path.suffix.lower() in IMAGES:
        return ArraySource([_read_image(path)], str(path))
    if reason := truncation(path):
        raise InvalidInput(f"expected a whole video, {path} is truncated: {reason}")
    return VideoSource(str(path))


def _read_image(path: Path) -> Image:
    if reason := truncation(path):
        raise InvalidInput(f"expected a whole image, {path} is truncated: {reason}")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InvalidInput(f"expected an image that decodes, got {path}")
    return checked(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), str(path))


def checked(image: Any, where: str) -> Image:
    """``image`` if it is uint8 [H, W, 3] of a sensible size, else InvalidInput."""
    if not isinstance(image, np.ndarray):
        raise InvalidInput(f"expected {where} as a numpy array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        hint = "scale to 0..255 and convert with astype(np.uint8)"
        raise InvalidInput(f"expected {where} as uint8 RGB, got dtype {image.dtype}", hint)
    if image.ndim != 3 or image.shape[2] != 3:
        raise InvalidInput(f"expected {where} of shape [H, W, 3], got {list(image.shape)}")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise InvalidInput(f"expected {where} with sides of {MIN_SIDE} to {MAX_SIDE} pixels, got {width}x{height}")
    return image


def _require_equal(shapes: Sequence[tuple[int, ...]]) -> None:
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            first, other = (f"{s[1]}x{s[0]}" for s in (shapes[0], shape))
            raise InvalidInput(f"expected frames of one size, got {first} first and {other} at frame {index}")


def _natural(path: Path) -> list[Any]:
    # frame2 before frame10; the kind first, so that numbers and words never meet in a comparison.
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _looks_like(target: str | int) -> str:
    if isinstance(target, int) or not Path(target).is_file():
        return ""
    with Path(target).open("rb") as file:
        start = file.read(64)
    if not start:
        return ", an empty file"
    return ", which looks like text" if start.isascii() and b"\0" not in start else ", in no format the decoder knows"
