"""Sources: anything that gives frames, as an iterable of RGB :class:`~dfer_edge.types.Frame`.

What a file is, is told by its content. Times are presentation times, so variable frame rates are right. Declared frame
counts are hints for progress bars: reading ends when decoding ends, and what is missing is counted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from dfer_edge.errors import DferError, InvalidInput, SourceNotFound
from dfer_edge.sources import pictures, strangers
from dfer_edge.sources.camera import CameraSource
from dfer_edge.sources.containers import truncation
from dfer_edge.sources.display import Turn
from dfer_edge.sources.frames import ArraySource, Source
from dfer_edge.sources.video import VideoSource
from dfer_edge.types import Frame

VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".gif", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"}
VIDEOS |= {".wmv", ".3gp"}
# Matroska, MPEG program stream, MPEG-1/2 video, ASF (WMV), Ogg, FLV.
_VIDEO_STARTS = (b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\x30\x26\xb2\x75", b"OggS", b"FLV\x01")
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
# RFC 8089; without a slash behind it the path is relative, which browsers do not know.
_FILE = re.compile(r"(?i)file:(//localhost(?=/)|//|(?=/))")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class FolderSource(Source):
    """A folder of images in natural order of their names, ``paths``; other files are passed over."""

    is_clip = True

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.paths = sorted((path for path in folder.iterdir() if _shows_something(path)), key=_natural)
        if not self.paths:
            hint = f"its videos one by one: dfer-edge label {folder}" if any(map(is_media, folder.iterdir())) else ""
            found = f"found none in {folder}"
            raise InvalidInput(f"expected a folder with images ({', '.join(sorted(IMAGES))}), {found}", hint)
        self.length_hint = len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        first: tuple[int, ...] | None = None
        for index, path in enumerate(self.paths):
            frame = next(iter(_open_file(path))).image
            first = first or frame.shape
            if frame.shape != first:
                expected, actual = (f"{shape[1]}x{shape[0]}" for shape in (first, frame.shape))
                hint = "the images of a folder are the frames of one clip"
                raise InvalidInput(
                    f"expected images of one size, {expected} as the first; got {actual} in {path}", hint
                )
            yield Frame(frame, index)


class PictureSource(ArraySource):
    """A picture: one frame; the pages of a TIFF, without a clock; the frames of an animated WebP, with its clock."""

    def __init__(self, path: Path, kind: str) -> None:
        frames = pictures.read(path, kind)
        super().__init__([image for image, _ in frames], str(path))
        shown = [seconds for _, seconds in frames]
        self._times = [0.0, *np.cumsum([s for s in shown[:-1] if s is not None]).tolist()]
        self.is_clip = shown[0] is None

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield frame if self.is_clip else Frame(frame.image, frame.index, self._times[frame.index])


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
        return CameraSource(source)
    if isinstance(source, str) and (address := _FILE.match(source)):
        return _open_path(Path(unquote(source[address.end() :])))
    if isinstance(source, str) and _URL.match(source):
        return VideoSource(source, live=True)
    if isinstance(source, (str, bytes, os.PathLike)):
        return _open_path(Path(os.fsdecode(source)))
    if isinstance(source, np.ndarray) or (isinstance(source, Sequence) and not isinstance(source, bytearray)):
        return ArraySource(source)
    raise InvalidInput(f"expected a path, a camera index, a URL or frames; got {type(source).__name__}")


def _open_path(path: Path) -> Source:
    try:
        found = path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise SourceNotFound(f"expected a path, got one that cannot be: {str(path)[:80]!r}: {error}") from error
    if not found:
        raise SourceNotFound(f"expected a video file or image folder, found nothing at {path}", strangers.missing(path))
    if not os.access(path, os.R_OK):
        raise SourceNotFound(f"expected a readable path, no permission for {path}")
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise InvalidInput(f"expected a regular file or a folder, got {path}")
    return _open_file(path)


def _open_file(path: Path) -> Source:
    try:
        return _opened(path)
    except OSError as error:
        if isinstance(error, DferError):
            raise
        raise SourceNotFound(f"expected a file that can be read, {path} cannot: {error.strerror or error}") from error


def _opened(path: Path) -> Source:
    if not path.stat().st_size:  # or a window into the kernel, which may never answer
        what, hint = strangers.EMPTY
        raise InvalidInput(f"expected a picture or video, got {path}{what}", hint)
    kind = pictures.kind_of(path)
    if kind in ("png", "jpeg", "bmp", "tiff", "webp", "heic"):
        return PictureSource(path, kind)
    if reason := truncation(path):
        raise InvalidInput(f"expected a whole {'image' if kind else 'video'}, {path} is truncated: {reason}")
    if kind in ("gif", "apng"):
        pictures.check_header(path, kind)
    turn = Turn.of_exif(pictures.apng_orientation(path)) if kind == "apng" else None
    try:
        return VideoSource(str(path), form="mjpeg" if kind == "mjpeg" else "", turn=turn)
    except InvalidInput as error:
        what, hint = strangers.told(path)
        if path.suffix.lower() in IMAGES:
            raise InvalidInput(f"expected an image that decodes, got {path}{what}", hint) from error
        raise InvalidInput(f"{error.message}{what}", error.hint or hint) from error


def is_media(path: Path) -> bool:
    """Whether a file is a picture or a video, by its name or the first bytes; what systems leave beside them is not."""
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        if path.suffix.lower() in IMAGES | VIDEOS or pictures.kind_of(path):
            return True
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:  # nobody may read it
        return False
    return start[4:8] == b"ftyp" or start.startswith(_VIDEO_STARTS) or (start[:4] == b"RIFF" and start[8:11] == b"AVI")


def _shows_something(path: Path) -> bool:
    """Whether a file of a folder is a picture, by its name or its content; what systems leave beside them is not."""
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        return path.suffix.lower() in IMAGES or bool(pictures.kind_of(path))
    except OSError:  # nobody may read it
        return False


def _natural(path: Path) -> list[Any]:
    # frame2 before frame10; the kind first, so that numbers and words never meet in a comparison.
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]
