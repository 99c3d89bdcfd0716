"""Decoded frames as players show them.

Square pixels, turned and mirrored by the display matrix, fields woven back into frames, colours by their matrix, high
dynamic range as on an ordinary screen.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import av.filter
import av.video.reformatter
import cv2
import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources.frames import check_size
from dfer_edge.types import Image

_LOG = logging.getLogger("dfer_edge")

# More threads wait for each other longer than they work, on frames of any camera; older releases know no other.
_ALONE = {"threads": 1} if "threads" in (av.video.reformatter.VideoReformatter.reformat.__doc__ or "") else {}
# Beyond these no camera's pixels are: a header's mistake.
_WIDEST_PIXEL = 8.0
# Encoders of HEVC are told "fields" and given frames as well; half of a broadcast frame is wider than any whole one.
_WIDEST_FRAME = 2.5
# Transfer characteristics (ITU-T H.273), and white paper's share of the most light of each.
_PQ, _HLG = 16, 18
_PAPER = {_PQ: 0.0203, _HLG: 0.265}
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
# Levels of a screen by light: as it is up to three quarters of white, bent above.
_PER_LIGHT = 4096
_LIGHT = np.arange(4 * _PER_LIGHT) / _PER_LIGHT
_BENT = np.minimum(_LIGHT, 0.75) + 0.25 * (1 - np.exp(-np.maximum(_LIGHT - 0.75, 0) / 0.25))
_TONES = np.round(255 * _BENT ** (1 / 2.4)).astype(np.uint8)
# No matrix of colours is said; 16ths of 1280 and 9ths of 720 pixels.
_UNSAID, _HD = 2, 80
# Of FFmpeg's display matrix: 16.16, row by row.
_MATRIX = np.dtype([("values", "=i4", 9)])


class Picture:
    """RGB pictures as they are shown, all of the first one's size; ``turn`` goes before what the frames say.

    ``takes_fields``: interlaced frames are single fields (ITU-T H.265, field_seq_flag), each shown at its own time.
    """

    def __init__(self, stream: Any, name: str, turn: Turn | None = None) -> None:
        self._stream, self._name = stream, name
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._turn, self._asks = turn or Turn(), turn is None
        self._light = _light_of(stream.codec_context)
        self.takes_fields = stream.codec_context.name == "hevc"

    def of(self, frame: Any) -> Image:
        """uint8 [H, W, 3] of a decoded frame."""
        # A matrix comes with a frame that decodes alone, or with the first, and holds for those behind it.
        if self._asks and (self._size is None or frame.key_frame):
            self._turn = Turn.of(frame) or self._turn
        turn = self._turn
        if self._size is None:
            # Players make pixels square by stretching the width.
            columns, lines = round(frame.width * self._aspect()), frame.height
            if self.takes_fields and frame.interlaced_frame and columns > _WIDEST_FRAME * lines:
                lines *= 2
            shown = (columns, lines)
            self._size = shown[::-1] if turn.swaps else shown
            check_size(*self._size, f"frames of {self._name}")
        width, height = self._size[::-1] if turn.swaps else self._size
        try:
            # Players take what does not say for BT.709 from HD on.
            unsaid_hd = frame.colorspace == _UNSAID and max(frame.width / 16, frame.height / 9) >= _HD
            matrix = "ITU709" if unsaid_hd else None
            rgb = self._reformatter.reformat(
                frame, width, height, "rgb24", src_colorspace=matrix, interpolation="BICUBIC", **_ALONE
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise InvalidInput(
                f"expected frames of a known pixel format in {self._name}: {reason_of(error)}"
            ) from error
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, : 3 * width]
        # Rows without padding stay in the decoder's memory, which they keep alive.
        image = np.ascontiguousarray(rows).reshape(height, width, 3)
        return turn.applied(image if self._light is None else _for_a_screen(image, self._light))

    def _aspect(self) -> float:
        aspect = float(self._stream.sample_aspect_ratio or 1)
        if 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
            return aspect
        _LOG.warning("pixels of %s are not %g times as wide as high: shown square", self._name, aspect)
        return 1.0


def _light_of(codec: Any) -> Any:
    """Light of each of 256 levels of a video of high dynamic range, 1 for white paper; None for all other video."""
    kind, level = int(getattr(codec, "color_trc", 0) or 0), np.arange(256) / 255
    if kind == _PQ:
        root = level ** (1 / 78.84375)
        light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    elif kind == _HLG:
        light = np.where(level <= 0.5, level**2 / 3, (np.exp((level - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    else:
        return None
    return (light / _PAPER[kind]).astype(np.float32)


def _for_a_screen(image: Image, light: Any) -> Image:
    """High dynamic range in tones and colours of an ordinary screen (ITU-R BT.2100, 2087, 2408); highlights bend."""
    linear = cv2.transform(cv2.LUT(image, light), _BT2020_TO_BT709)
    levels = np.minimum(np.maximum(linear, 0) * _PER_LIGHT, len(_TONES) - 1).astype(np.uint16)
    return np.asarray(_TONES[levels])


class Turn(NamedTuple):
    """How a decoded picture is to be shown: rows and columns swapped, then mirrored."""

    swaps: bool = False
    across: bool = False
    down: bool = False

    @classmethod
    def of_exif(cls, orientation: int) -> Turn:
        """From an orientation of EXIF, 1 to 8 (CIPA DC-008, 4.6.5); none for other numbers."""
        return cls(orientation in (5, 6, 7, 8), orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8))

    @classmethod
    def of(cls, frame: Any) -> Turn | None:
        """From the display matrix of a frame, to quarter turns: (x, y) is shown at (a x + c y, b x + d y)."""
        try:
            # By its name: what the container iterates over changed with PyAV 19, from data to their types.
            data = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV stumbles over kinds that its FFmpeg knows and it does not (EXIF, in 18.1), but knows the angle.
            return _ANGLES.get(round(frame.rotation))
        if data is None or data.buffer_size < _MATRIX.itemsize:
            return None
        a, b, _, c, d = np.frombuffer(data, _MATRIX, 1)["values"][0][:5].tolist()
        return cls(False, a < 0, d < 0) if abs(a) + abs(d) >= abs(b) + abs(c) else cls(True, c < 0, b < 0)

    def applied(self, image: Image) -> Image:
        """``image`` as it is shown."""
        if self.swaps:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.across or self.down:
            code = -1 if self.across and self.down else 1 if self.across else 0
            image = np.asarray(cv2.flip(image, code), np.uint8)
        return image


# Quarter turns by the angle that FFmpeg makes of a display matrix.
_ANGLES = {-90: Turn(True, True, False), 90: Turn(True, False, True)} | dict.fromkeys(
    (-180, 180), Turn(False, True, True)
)


def progressive(frames: Iterator[Any]) -> Iterator[Any]:
    """Frames without fields: from the first interlaced one on all pass a filter that leaves progressive ones alone."""
    fields: _Filter | None = None
    for frame in frames:
        if fields is None and not frame.interlaced_frame:
            yield frame
            continue
        if fields is None or not fields.takes(frame):
            if fields is not None:
                yield from fields.push(None)
            # One frame out for each in, one late.
            fields = _Filter(frame, "bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        yield from fields.push(frame)
    if fields is not None:
        yield from fields.push(None)


class _Filter:
    """A filter of FFmpeg's for frames like the first."""

    def __init__(self, frame: Any, name: str, options: str) -> None:
        self._kind = self._kind_of(frame)
        self._graph = av.filter.Graph()
        width, height, pixels, time_base = self._kind
        source = self._graph.add_buffer(width=width, height=height, format=pixels, time_base=time_base)
        self._graph.link_nodes(source, self._graph.add(name, options), self._graph.add("buffersink")).configure()

    @staticmethod
    def _kind_of(frame: Any) -> tuple[int, int, Any, Any]:
        return frame.width, frame.height, frame.format, frame.time_base

    def takes(self, frame: Any) -> bool:
        """Whether a frame is like the first."""
        width, height, pixels, time_base = self._kind_of(frame)
        return (width, height, pixels.name, time_base) == (*self._kind[:2], self._kind[2].name, self._kind[3])

    def push(self, frame: Any) -> Iterator[Any]:
        """Frames that are ready once this one is known; with None, those still held."""
        self._graph.push(frame)
        with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield self._graph.pull()


def reason_of(error: BaseException) -> str:
    """What FFmpeg says of an error, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
