"""Pictures, told by what is in the file and not by its name: sizes, still pictures, pages, animations.

Every size is read from the header before anything is decoded. OpenCV turns pictures as their EXIF orientation says.
AVIF, GIF and animated PNG are FFmpeg's (:mod:`dfer_edge.sources.video`): it knows their clocks and turns.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import av
import cv2
import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources.containers import AVIF, HEIC, brands, jpeg_end, png_chunks, png_damage, truncation
from dfer_edge.sources.display import Turn
from dfer_edge.sources.frames import check_size, checked
from dfer_edge.types import Image

# Enough for every header below but a JPEG's behind a large profile and a TIFF's at its end: those are read in full.
_HEAD = 64
# Of the second JPEG in a row: its size is behind its tables.
_MOST_HEADER = 1 << 16
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"GIF8", "gif"),
)
# Start-of-frame markers of a JPEG: all of 0xc0 to 0xcf but tables and extensions.
_SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
# What FFmpeg checks of them, of eight bits: baseline, extended and progressive with Huffman codes.
_COMMON = frozenset((0xC0, 0xC1, 0xC2))
_WIDTH_TAG, _HEIGHT_TAG, _ORIENTATION_TAG = 256, 257, 274


def kind_of(path: Path) -> str:
    """The format by content, empty for none of pictures.

    ``png``, ``apng``, ``jpeg``, ``mjpeg`` (JPEGs in a row), ``bmp``, ``tiff``, ``gif``, ``webp``, ``avif``, ``heic``.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        kind = kind_in(head)
        if kind == "png" and b"acTL" in head + file.read(4096 - _HEAD):
            return "apng"
        if kind == "jpeg" and _is_followed(file):
            return "mjpeg"
    return kind


def kind_in(data: bytes) -> str:
    """As :func:`kind_of`, by the first bytes alone: animated PNG are ``png``, JPEGs in a row ``jpeg``."""
    head = data[:_HEAD]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    found = brands(head)
    if found & AVIF:
        return "avif"
    if found & HEIC:
        return "heic"
    kind = next((name for magic, name in _KINDS if head.startswith(magic)), "")
    # A bitmap's size of header, or two letters that any text may begin with.
    if kind == "bmp" and head[14:18] not in {bytes([size, 0, 0, 0]) for size in (12, 40, 52, 56, 64, 108, 124)}:
        return ""
    return kind


def _is_followed(file: BinaryIO) -> bool:
    """Whether a second JPEG of the same size follows the first at once: Motion JPEG without a container.

    Of multi-picture files (CIPA DC-007), which say so, the others are previews and second views.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = jpeg_end(data)
        if not end or data[end : end + 3] != b"\xff\xd8\xff" or data.find(b"MPF\0", 0, end) >= 0:
            return False
        try:
            return _jpeg(data) == _jpeg(data[end : end + _MOST_HEADER])
        except (struct.error, IndexError, ValueError):
            return False


def read(path: Path, kind: str) -> list[tuple[Image, float | None]]:
    """The frames of a still picture, a multi-page TIFF or an animated WebP.

    Parameters
    ----------
    path
        The file.
    kind
        ``png``, ``jpeg``, ``bmp``, ``tiff``, ``webp`` or ``heic``, as :func:`kind_of` says.

    Returns
    -------
    uint8 RGB [H, W, 3] each, with the seconds that it is shown, None for stills and pages.

    Raises
    ------
    InvalidInput
        If it is truncated, too large, or does not decode.
    """
    if reason := truncation(path):
        raise InvalidInput(f"expected a whole image, {path} is truncated: {reason}")
    if kind == "heic":
        return [(_heic(path), None)]
    data = np.fromfile(path, np.uint8)
    width, height = size_of(data.data, kind)
    if width is None or height is None:
        raise InvalidInput(f"expected an image with a size in its header, got {path}")
    check_size(width, height, str(path))
    if (kind == "png" and (reason := png_damage(data.data))) or (
        kind == "jpeg" and (reason := _jpeg_damage(data.data))
    ):
        raise InvalidInput(f"expected an image that decodes, got {path}: {reason}")
    try:
        if kind == "webp" and bytes(data[12:16]) == b"VP8X" and data[20] & 2:
            return _animation(data, path)
        pictures = _pages(data) if kind == "tiff" else [cv2.imdecode(data, cv2.IMREAD_COLOR)]
    except cv2.error as error:
        raise InvalidInput(f"expected an image that decodes, got {path}: {error.err}") from error
    if not pictures or any(picture is None for picture in pictures):
        raise InvalidInput(f"expected an image that decodes, got {path}", "if viewers show it: save it as PNG or JPEG")
    return [(_rgb(picture, path), None) for picture in pictures]


def _heic(path: Path) -> Image:
    """The main picture, put together, turned and mirrored by libheif."""
    try:
        import pillow_heif
    except ImportError as error:
        reason = "HEIC, whose tiles nothing here puts together"
        hint = 'pip install "dfer-edge[heic]", or save it as JPEG, PNG or AVIF'
        raise InvalidInput(f"expected a picture or video, {path} is {reason}", hint) from error
    try:
        with path.open("rb") as file:
            found = pillow_heif.open_heif(file, convert_hdr_to_8bit=True, bgr_mode=False)
            check_size(found.size[0], found.size[1], str(path))
            image = np.asarray(found)
    except (ValueError, RuntimeError, OSError, EOFError, SyntaxError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"expected an image that decodes, got {path}: {error}") from error
    colour = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, 2)
    return checked(np.ascontiguousarray(colour[:, :, :3]), str(path))


def _rgb(picture: Any, path: Path) -> Image:
    return checked(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)), str(path))


def _pages(data: Any) -> list[Any]:
    """Pages of the first one's size: others are thumbnails of it."""
    decoded, pages = cv2.imdecodemulti(data, cv2.IMREAD_COLOR)
    return [page for page in pages if page.shape == pages[0].shape] if decoded else []


def _animation(data: Any, path: Path) -> list[tuple[Image, float | None]]:
    if not hasattr(cv2, "imdecodeanimation"):
        raise InvalidInput(f"expected a still WebP, {path} is animated", "pip install -U opencv-python-headless")
    decoded, animation = cv2.imdecodeanimation(data.reshape(1, -1))
    if not decoded:
        raise InvalidInput(f"expected an animation that decodes, got {path}")
    turn = Turn.of_exif(_webp_orientation(data.data))
    pictures = (turn.applied(np.asarray(frame[:, :, :3], np.uint8)) for frame in animation.frames)
    # No time at all is a tenth of a second to browsers.
    return [(_rgb(p, path), (ms or 100) / 1000) for p, ms in zip(pictures, animation.durations, strict=True)]


def _webp_orientation(data: Any) -> int:
    """The orientation of an animated WebP, 1 for none: OpenCV turns still ones only."""
    offset = 12
    while offset + 8 <= len(data):
        size = int.from_bytes(data[offset + 4 : offset + 8], "little")
        if bytes(data[offset : offset + 4]) == b"EXIF":
            # Some writers keep the prefix that it has in a JPEG.
            return _orientation(bytes(data[offset + 8 : offset + 8 + size]).removeprefix(b"Exif\0\0"))
        offset += 8 + size + size % 2
    return 1


def apng_orientation(path: Path) -> int:
    """The orientation of an animated PNG, 1 for none: FFmpeg tells its angle, and that of the first frame alone."""
    data = path.read_bytes()
    return next((_orientation(data[start:end]) for kind, start, end in png_chunks(data) if kind == b"eXIf"), 1)


def _orientation(exif: bytes) -> int:
    with contextlib.suppress(struct.error, IndexError):
        return _directory(exif, (_ORIENTATION_TAG,))[0].get(_ORIENTATION_TAG, 1)
    return 1


def _jpeg_damage(data: Any) -> str:
    """What is said of JPEG data that do not decode whole, empty for none; OpenCV fills the rest with grey."""
    frame = _jpeg_frame(data)
    if data[frame + 1] not in _COMMON or data[frame + 4] != 8:
        return ""
    codec = av.CodecContext.create("mjpeg", "r")
    codec.options = {"err_detect": "explode"}
    codec.thread_count = 1
    try:
        codec.decode(av.Packet(bytes(data[: jpeg_end(data)])))
    except av.error.InvalidDataError:
        return "its JPEG data are damaged"
    except av.error.FFmpegError:
        return ""  # what only OpenCV knows
    return ""


def check_header(path: Path, kind: str) -> None:
    """Raises InvalidInput for a size in the first bytes of a GIF or animated PNG that no picture can have."""
    with path.open("rb") as file:
        width, height = size_of(file.read(_HEAD), kind)
    if width is not None and height is not None:
        check_size(width, height, str(path))


def size_of(data: Any, kind: str) -> tuple[int | None, int | None]:
    """Width and height that the header of a picture declares, None if it has none that can be read.

    Parameters
    ----------
    data
        The whole file, bytes or a view of them.
    kind
        As in :func:`read`.
    """
    try:
        return {"png": _png, "apng": _png, "jpeg": _jpeg, "bmp": _bmp, "tiff": _tiff, "webp": _webp, "gif": _gif}[kind](
            data
        )
    except (struct.error, IndexError, ValueError):
        return None, None


def _png(data: Any) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif(data: Any) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: Any) -> tuple[int, int]:
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _jpeg(data: Any) -> tuple[int, int]:
    height, width = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
    return width, height


def _jpeg_frame(data: Any) -> int:
    """Where the marker is that tells kind, depth and size."""
    offset = 2
    while True:
        if data[offset] != 0xFF:
            raise ValueError("no marker where one has to be")
        marker = data[offset + 1]
        if marker in _SIZED:
            return offset
        # A filler is one byte long, a marker without a segment two.
        if marker == 0xFF:
            offset += 1
        elif marker in _STANDALONE:
            offset += 2
        else:
            offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]


def _webp(data: Any) -> tuple[int, int]:
    chunk = bytes(data[12:16])
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk != b"VP8 ":
        raise ValueError("no WebP")
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(data: Any) -> tuple[int, int]:
    """The largest width and height of all pages."""
    offset, found, seen = 0, [(0, 0)], set[int]()
    while (not seen or offset) and offset not in seen:
        seen.add(offset)
        page, offset = _directory(data, (_WIDTH_TAG, _HEIGHT_TAG), offset)
        found.append((page.get(_WIDTH_TAG, 0), page.get(_HEIGHT_TAG, 0)))
    return max(w for w, _ in found), max(h for _, h in found)


def _directory(data: Any, tags: Collection[int], offset: int = 0) -> tuple[dict[int, int], int]:
    """Numbers of a TIFF's directory (EXIF is one too), the first for ``offset`` 0; and where the next one is."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    offset = offset or struct.unpack_from(order + "I", data, 4)[0]
    (count,) = struct.unpack_from(order + "H", data, offset)
    found: dict[int, int] = {}
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, form = struct.unpack_from(order + "HH", data, entry)
        if tag in tags:
            # SHORT or LONG, at the start of the value.
            found[tag] = struct.unpack_from(order + ("H" if form == 3 else "I"), data, entry + 8)[0]
    return found, struct.unpack_from(order + "I", data, offset + 2 + 12 * count)[0]
