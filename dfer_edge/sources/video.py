"""Videos, decoded by FFmpeg through PyAV: what is in a file, when it is shown, and what of it is lost.

The stream is the one that players take. Pictures come out as players show them: square pixels, turned and mirrored by
the display matrix, fields woven back into frames. A frame that does not decode whole is left out and counted.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import av.filter
import av.stream
import av.video.reformatter
import cv2
import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources import containers
from dfer_edge.sources.frames import Source, check_size
from dfer_edge.system import cpu
from dfer_edge.types import NOMINAL_RATE, Frame, Image

_LOG = logging.getLogger("dfer_edge")

# Rates that headers declare and nobody films at are no rates.
_SLOWEST, _FASTEST = 0.01, 1000.0
# A step between two frames above this is a broken clock, not a pause; so is one back.
_LONGEST_STEP_S = 3600.0
# Steps of the declared rate make a gap of another length a loss; longer ones are pauses, or the work of an editor.
_REGULAR, _LONGEST_GAP_S = 0.9, 60.0
# Last frames may be shown for long, and some headers round.
_LEAST_TAIL_S = 0.5
# Beyond these no camera's pixels are: a header's mistake.
_WIDEST_PIXEL = 8.0
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
# FFmpeg's AVFMT_NOTIMESTAMPS.
_NO_STAMPS = 0x80
# An AVI of unknown length declares 2^30.
_MOST_DECLARED = 10**8
# More hold more frames in memory and decode no faster.
_MOST_THREADS = 8
# Seconds that a live source may take to open, or to give the next packet.
_PATIENCE_S = (30.0, 30.0)
# Of FFmpeg's display matrix: 16.16, row by row.
_MATRIX = np.dtype([("values", "=i4", 9)])
# What a local file may refer to: playlists must not reach the network.
_LOCAL = {"protocol_whitelist": "file"}


class VideoSource(Source):
    """A video file, or with ``live`` a stream's URL, which is opened when its frames are asked for.

    Parameters
    ----------
    target
        Path or URL.
    live
        It need not end.
    form
        FFmpeg's name of the format where the content alone would be taken for another; else empty.

    Attributes
    ----------
    frames_lost
        Frames of the last pass that the file lists or holds and that do not decode whole; where a file keeps no list,
        those that its rate asks for in gaps and up to its declared end.

    Raises
    ------
    InvalidInput
        If it does not open, has no video, or frames of an impossible size.
    """

    def __init__(self, target: str, live: bool = False, form: str = "") -> None:
        self.name, self._target, self.live, self._form = target, target, live, form or None
        # Kept for the first pass.
        self._opened: Any = None if live else self._open()
        if not live:
            declared = _best(self._opened).frames
            self.length_hint = declared if 0 < declared <= _MOST_DECLARED else None

    def _open(self) -> Any:
        what = "stream" if self.live else "video"
        try:
            # The prefix keeps colons in names from being taken for protocols.
            container = (
                av.open(self._target, timeout=_PATIENCE_S)
                if self.live
                else av.open(f"file:{self._target}", format=self._form, options=_LOCAL)
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InvalidInput(f"expected a {what} that opens, got {self.name}: {_reason(error)}") from error
        try:
            stream = _best(container)
            if stream is None:
                kinds = sorted({s.type for s in container.streams if s.type != "video"})
                found = f"only {' and '.join(kinds)}" if kinds else "no streams"
                raise InvalidInput(f"expected a {what}, {self.name} has {found} ({container.format.name})")
            if stream.codec_context is None:
                raise InvalidInput(f"expected a {what} of a known codec, got {self.name}")
            if not stream.width:
                raise InvalidInput(f"expected a {what} with a whole frame near its start, got {self.name}")
            check_size(stream.width, stream.height, f"frames of {self.name}")
        except InvalidInput:
            container.close()
            raise
        return container

    def __iter__(self) -> Iterator[Frame]:
        container, self._opened = self._opened or self._open(), None
        self.frames_lost = 0
        with contextlib.closing(container):
            stream, index = _best(container), 0
            clock, picture = _Clock(container, stream, self.name), _Picture(stream, self.name)
            for decoded in _progressive(self._decoded(container, stream)):
                yield Frame(picture.of(decoded), index, clock.time_s(decoded.time))
                index += 1
            if not self.live:
                # What did not decode left a gap as well.
                self.frames_lost = max(self.frames_lost, clock.missing())
        if index == 0:
            raise InvalidInput(f"expected a video with frames, none decode in {self.name}")
        if self.frames_lost:
            found = f"{index} of {index + self.frames_lost}"
            _LOG.warning("%s is damaged: %s frames decode, the others were left out", self.name, found)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Whole frames in order of presentation; counts the others."""
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(cpu.available_cores(), _MOST_THREADS)
        given = unseen = 0
        for packet in self._packets(container, stream):
            # An edit list decodes frames that it does not show.
            unseen += packet is not None and packet.is_discard
            for frame in self._frames(stream, packet):
                if frame.is_corrupt:
                    self.frames_lost += 1
                else:
                    given += 1
                    yield frame
        if _lists_frames(container):
            # Some damage gives neither error nor frame. Edit lists have left this list already.
            self.frames_lost = max(self.frames_lost, len(stream.index_entries) - unseen - given)
        if container.format.name == "gif" and not containers.gif_ends(self._target):
            self.frames_lost = max(self.frames_lost, 1)

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Packets of the stream, then None: the decoder gives what it still holds."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                if self.live:
                    raise InvalidInput(f"expected more of {self.name}, which ends: {_reason(error)}") from error
                _LOG.warning("%s is damaged, nothing behind this is read: %s", self.name, _reason(error))
                packet = None
            if packet is None:
                yield None
                return
            if packet.size:
                yield packet

    def _frames(self, stream: Any, packet: Any) -> list[Any]:
        try:
            found: list[Any] = stream.decode(packet)
        except (av.error.FFmpegError, ValueError):
            # Of a stream that is joined in the middle, the first packets cannot decode either.
            self.frames_lost += 1
            return []
        for frame in found:
            # The last frames come without it.
            frame.time_base = stream.time_base
            if stream.container.format.name == "avi":
                # It has the order of decoding alone; what FFmpeg makes of it goes back and forth.
                frame.pts = frame.dts
        return found


class _Clock:
    """Seconds since the first frame, always moving forward and never far at once; and what is missing in between."""

    def __init__(self, container: Any, stream: Any, name: str) -> None:
        rates = [stream.average_rate, stream.guessed_rate]
        # Empty frames of an AVI count in its mean.
        rate = float(next((r for r in (rates[::-1] if container.format.name == "avi" else rates) if r), 0))
        self._step = 1 / (rate if _SLOWEST <= rate <= _FASTEST else NOMINAL_RATE)
        self._name = name
        # What has a list of its own needs no guess, what has no stamps allows none.
        self._guesses = not (_lists_frames(container) or container.format.flags & _NO_STAMPS)
        self._declared_s = _declared_s(container, stream)
        self._regular = self._steps = self._skipped = 0
        self._start: float | None = None
        self._last = -self._step
        self._complained = False

    def time_s(self, stamp: float | None) -> float:
        """The time of the frame with a presentation stamp in seconds, None if it has none."""
        expected = self._last + self._step
        if stamp is None or not math.isfinite(stamp):
            self._last = expected
            return expected
        if self._start is None:
            self._start = stamp
        moved = stamp - self._start - self._last
        if not 0 < moved <= _LONGEST_STEP_S:
            # No clock: the frame rate counts this step, and the next stamps count from here.
            if not self._complained and abs(moved) > _LONGEST_STEP_S:
                _LOG.warning("the clock of %s jumps by %.0f s; its frame rate bridges the jump", self._name, moved)
                self._complained = True
            self._start = stamp - expected
        elif self._last >= 0:
            self._steps += 1
            # Milliseconds of Matroska are rounded.
            self._regular += abs(moved - self._step) < max(0.1 * self._step, 0.0015)
            self._skipped += round(moved / self._step) - 1 if moved <= _LONGEST_GAP_S else 0
        self._last = stamp - self._start
        return self._last

    def missing(self) -> int:
        """Frames that a steady rate asks for in gaps and up to the declared end."""
        if not self._guesses or self._regular < max(2, _REGULAR * self._steps):
            return 0
        tail_s = self._declared_s - self._last - self._step
        return max(0, self._skipped) + (round(tail_s / self._step) if tail_s > _LEAST_TAIL_S else 0)


def _lists_frames(container: Any) -> bool:
    """Whether a file has a list of all its frames; other headers, and fragments, only claim a number or a length."""
    return container.format.name == "avi" or ("mov" in container.format.name and _best(container).frames > 0)


def _declared_s(container: Any, stream: Any) -> float:
    """Seconds of video that a header declares; 0 if it does not, or only those of sound as well."""
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if stream.duration:
        return float(stream.duration * stream.time_base)
    alone = all(other is stream or other.type not in ("audio", "video") for other in container.streams)
    return container.duration / av.time_base if alone and container.duration else 0.0


class _Picture:
    """RGB pictures as they are shown, all of the first one's size."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._light = _light_of(stream.codec_context)

    def of(self, frame: Any) -> Image:
        """uint8 [H, W, 3] of a decoded frame."""
        turn = _Turn.of(frame)
        if self._size is None:
            # Players make pixels square by stretching the width.
            shown = (round(frame.width * self._aspect()), frame.height)
            self._size = shown[::-1] if turn.swaps else shown
            check_size(*self._size, f"frames of {self._name}")
        width, height = self._size[::-1] if turn.swaps else self._size
        try:
            # Players take what does not say for BT.709 from HD on.
            unsaid_hd = frame.colorspace == _UNSAID and max(frame.width / 16, frame.height / 9) >= _HD
            matrix = "ITU709" if unsaid_hd else None
            rgb = self._reformatter.reformat(
                frame, width, height, "rgb24", src_colorspace=matrix, interpolation="BICUBIC"
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise InvalidInput(f"expected frames of a known pixel format in {self._name}: {_reason(error)}") from error
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


class _Turn(NamedTuple):
    """How a decoded picture is to be shown: rows and columns swapped, then mirrored."""

    swaps: bool = False
    across: bool = False
    down: bool = False

    @classmethod
    def of(cls, frame: Any) -> _Turn:
        """From the display matrix of a frame, to quarter turns: (x, y) is shown at (a x + c y, b x + d y)."""
        try:
            found = list(frame.side_data)
        except ValueError:
            # PyAV stumbles over kinds that its FFmpeg knows and it does not (EXIF, in 18.1), but knows the angle.
            return _ANGLES.get(round(frame.rotation), cls())
        for data in found:
            if data.type.name == "DISPLAYMATRIX" and data.buffer_size >= _MATRIX.itemsize:
                a, b, _, c, d = np.frombuffer(data, _MATRIX, 1)["values"][0][:5].tolist()
                return cls(False, a < 0, d < 0) if abs(a) + abs(d) >= abs(b) + abs(c) else cls(True, c < 0, b < 0)
        return cls()

    def applied(self, image: Image) -> Image:
        """``image`` as it is shown."""
        if self.swaps:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.across or self.down:
            code = -1 if self.across and self.down else 1 if self.across else 0
            image = np.asarray(cv2.flip(image, code), np.uint8)
        return image


# Quarter turns by the angle that FFmpeg makes of a display matrix.
_ANGLES = {-90: _Turn(True, True, False), 90: _Turn(True, False, True)} | dict.fromkeys(
    (-180, 180), _Turn(False, True, True)
)


def _progressive(frames: Iterator[Any]) -> Iterator[Any]:
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


def _best(container: Any) -> Any:
    """The video stream that players take: the default one, of several the larger. Pictures of covers are none."""
    stream = container.streams.best("video")
    is_cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
    return None if is_cover else stream


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
