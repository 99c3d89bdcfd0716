"""Videos, decoded by FFmpeg through PyAV: what is in a file, when it is shown, and what of it is lost.

The stream is the one that players take, its pictures come out as players show them (:mod:`dfer_edge.sources.display`).
A frame that does not decode whole is left out and counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
from collections.abc import Iterator
from typing import Any

import av
import av.stream

from dfer_edge.errors import InvalidInput
from dfer_edge.sources import containers
from dfer_edge.sources.display import Picture, Turn, progressive, reason_of
from dfer_edge.sources.frames import Source, check_size
from dfer_edge.sources.h264 import Fields
from dfer_edge.sources.redaction import redacted
from dfer_edge.system import cpu
from dfer_edge.system.memory import keep_freed_frames
from dfer_edge.types import NOMINAL_RATE, Frame

_LOG = logging.getLogger("dfer_edge")

# Rates that headers declare and nobody films at are no rates.
_SLOWEST, _FASTEST = 0.01, 1000.0
# A step between two frames above this is a broken clock, not a pause; so is one back.
_LONGEST_STEP_S = 3600.0
# Frames of one stamp put us ahead of a clock by no more than this; and so many frames out of order are no new clock.
_LONGEST_LEAD_S, _OUT_OF_ORDER = 1.0, 3
# Steps of the declared rate make a gap of another length a loss; longer ones are pauses, or the work of an editor.
_REGULAR, _LONGEST_GAP_S = 0.9, 60.0
# Last frames may be shown for long, and some headers round.
_LEAST_TAIL_S = 0.5
# FFmpeg's AVFMT_NOTIMESTAMPS.
_NO_STAMPS = 0x80
# An AVI of unknown length declares 2^30.
_MOST_DECLARED = 10**8
# More hold more frames in memory and decode no faster.
_MOST_THREADS = 8
# Seconds that a live source may take to open, or to give the next packet.
_PATIENCE_S = (30.0, 30.0)
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
    turn
        How its frames are to be shown; None asks them.

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

    def __init__(self, target: str, live: bool = False, form: str = "", turn: Turn | None = None) -> None:
        # A path may look like anything; an address has its password taken out.
        self.name = redacted(target) if live else target
        self._target, self.live, self._form, self._turn = target, live, form or None, turn
        # Kept for the first pass, of this process.
        self._opened: Any = None if live else self._open()
        self._process = os.getpid()
        if not live:
            stream = _best(self._opened)
            # A list of fields counts two for a frame.
            counts = 0 < stream.frames <= _MOST_DECLARED and not Fields.of(stream.codec_context)
            self.length_hint = stream.frames if counts else None

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
            raise InvalidInput(f"expected a {what} that opens, got {self.name}: {reason_of(error)}") from error
        # FFmpeg's readers of pictures.
        what = "picture" if container.format.name.endswith(("_pipe", "image2")) else what
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
        if self._process != os.getpid():
            # Another process reads on from the same place in the file.
            _leave_alone(self._opened)
            self._opened, self._process = None, os.getpid()
        container, self._opened, process = self._opened or self._open(), None, os.getpid()
        self.frames_lost = index = 0
        keep_freed_frames()
        held: list[object] = [container]
        try:
            stream = _best(container)
            clock, picture = _Clock(container, stream, self.name), Picture(stream, self.name, self._turn)
            frames = self._decoded(container, stream)
            frames = frames if picture.takes_fields else progressive(frames)
            held += [stream, frames]
            for decoded in frames:
                yield Frame(picture.of(decoded), index, clock.time_s(decoded.time))
                if process != os.getpid():
                    found = f"expected {self.name} to be read by the process that began to, got a fork of it"
                    raise InvalidInput(found, "open it in the child")
                index += 1
            if not self.live:
                # What did not decode left a gap as well.
                self.frames_lost = max(self.frames_lost, clock.missing())
        finally:
            if process == os.getpid():
                container.close()
            else:
                _leave_alone(held)
        if index == 0:
            raise InvalidInput(f"expected a video with frames, none decode in {self.name}")
        if self.frames_lost:
            found = f"{index} of {index + self.frames_lost}"
            _LOG.warning("%s is damaged: %s frames decode, the others were left out", self.name, found)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Whole frames in order of presentation; counts the others."""
        fields = Fields.of(stream.codec_context)
        stream.thread_type = "SLICE" if fields else "AUTO"
        stream.codec_context.thread_count = min(cpu.available_cores(), _MOST_THREADS)
        given = unseen = halves = 0
        is_listed = _lists_frames(container)
        for packet in self._packets(container, stream):
            # An edit list decodes frames that it does not show.
            if packet is not None and packet.is_discard:
                unseen += 1
            elif packet is not None and fields and is_listed:
                halves += fields.is_one(packet)
            for frame in self._frames(stream, packet):
                if frame.is_corrupt:
                    self.frames_lost += 1
                else:
                    given += 1
                    yield frame
        if is_listed:
            # Some damage gives neither error nor frame. Edit lists have left this list already.
            self.frames_lost = max(self.frames_lost, len(stream.index_entries) - unseen - halves // 2 - given)
        if containers.ends_inside(self._target, container.format.name):
            self.frames_lost = max(self.frames_lost, 1)

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Packets of the stream, then None: the decoder gives what it still holds."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                if self.live:
                    raise InvalidInput(f"expected more of {self.name}, which ends: {reason_of(error)}") from error
                _LOG.warning("%s is damaged, nothing behind this is read: %s", self.name, reason_of(error))
                self.frames_lost = max(self.frames_lost, 1)
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


def _leave_alone(held: object) -> None:
    """In a fork: never free what waits for threads that are not here, not even when the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))


class _Clock:
    """Seconds since the first frame, always moving forward and never far at once; and what is missing in between."""

    def __init__(self, container: Any, stream: Any, name: str) -> None:
        # Stamps of what has none are FFmpeg's guess.
        self._ticks = not container.format.flags & _NO_STAMPS
        rates = [stream.average_rate, stream.guessed_rate]
        # Empty frames of an AVI count in its mean.
        guessed_first = container.format.name == "avi" or not self._ticks
        rate = float(next((r for r in (rates[::-1] if guessed_first else rates) if r), 0))
        self._step = 1 / (rate if _SLOWEST <= rate <= _FASTEST else NOMINAL_RATE)
        self._name = name
        # What has a list of its own needs no guess, what has no stamps allows none.
        self._guesses = self._ticks and not _lists_frames(container)
        self._declared_s = _declared_s(container, stream)
        self._regular = self._steps = self._skipped = 0
        self._start: float | None = None
        self._stamp, self._last = -math.inf, -self._step
        self._complained = False

    def time_s(self, stamp: float | None) -> float:
        """The time of the frame with a presentation stamp in seconds, None if it has none."""
        if stamp is None or not math.isfinite(stamp) or not self._ticks:
            self._last += self._step
            return self._last
        self._start = stamp if self._start is None else self._start
        moved, back = stamp - self._start - self._last, self._stamp - stamp
        self._stamp = stamp
        if 0 < moved <= _LONGEST_STEP_S:
            self._count(moved)
            self._last = stamp - self._start
        elif back == 0:
            # The last stamp once more: ahead of the clock until it goes on.
            self._last += self._step
        elif -_LONGEST_LEAD_S <= moved <= 0 and back <= _OUT_OF_ORDER * self._step:
            self._last += self._step / 4
        else:
            self._begin_anew(stamp, moved)
        return self._last

    def _count(self, moved: float) -> None:
        """A step forward, for the account of what is missing; the first frame takes none."""
        if self._last >= 0:
            self._steps += 1
            # Milliseconds of Matroska are rounded.
            self._regular += abs(moved - self._step) < max(0.1 * self._step, 0.0015)
            self._skipped += round(moved / self._step) - 1 if moved <= _LONGEST_GAP_S else 0

    def _begin_anew(self, stamp: float, moved: float) -> None:
        """No clock: the frame rate counts this step, and the next stamps count from here."""
        if not self._complained and abs(moved) > _LONGEST_STEP_S:
            _LOG.warning("the clock of %s jumps by %.0f s; its frame rate bridges the jump", self._name, moved)
            self._complained = True
            self._declared_s = 0.0  # by the same clock: it says nothing of what is missing
        self._last += self._step
        self._start = stamp - self._last

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
    # Matroska's are the end on a clock that need not begin at 0; where they are a length, this asks for less.
    start_s: float = max(0.0, (container.start_time or 0) / av.time_base)
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - start_s
    if stream.duration:
        return float(stream.duration * stream.time_base)
    alone = all(other is stream or other.type not in ("audio", "video") for other in container.streams)
    return float(container.duration / av.time_base) - start_s if alone and container.duration else 0.0


def _best(container: Any) -> Any:
    """The video stream that players take: the default one, of several the larger. Pictures of covers are none."""
    stream = container.streams.best("video")
    is_cover = stream is not None and stream.disposition & av.stream.Disposition.attached_pic
    return None if is_cover else stream
