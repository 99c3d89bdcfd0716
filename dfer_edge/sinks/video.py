"""A video written whole or not at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np

from dfer_edge.errors import DferError
from dfer_edge.system import cpu
from dfer_edge.system.whole_files import partial_of
from dfer_edge.types import NOMINAL_RATE, Image

# What players take for a rate of frames.
_SLOWEST, _FASTEST = 0.01, 240.0


class VideoSink:
    """Writes RGB frames [H, W, 3] of one size to an H.264 MP4 that browsers play; a context manager.

    The file appears when it is whole, read back and counted: a full disk or an interrupted run leaves what was there.

    Parameters
    ----------
    path
        Of the MP4.
    rate
        Frames a second; 25 for one that no player takes.
    """

    def __init__(self, path: str | Path, rate: float) -> None:
        self._path = Path(path)
        self._rate = rate if _SLOWEST <= rate <= _FASTEST else NOMINAL_RATE
        self._partial = partial_of(self._path)
        self._container: Any = None
        self._frames, self._last = 0, -1

    def write(self, image: Image, time_s: float | None = None) -> None:
        """Append a frame at its place, or at a time since the first one; another size is fitted into the first one's.

        Raises
        ------
        DferError
            If the file cannot be written.
        """
        try:
            if self._container is None:
                self._open(image.shape[1], image.shape[0])
                self._size = image.shape[1], image.shape[0]
            image = image if image.shape[1::-1] == self._size else np.asarray(cv2.resize(image, self._size), np.uint8)
            height, width = image.shape[:2]
            # Planes of half the size want even ones.
            even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24")
            self._last = max(self._last + 1, self._frames if time_s is None else round(time_s * self._rate))
            frame.pts = self._last
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._frames += 1

    def _open(self, width: int, height: int) -> None:
        # The prefix keeps colons in names from being taken for protocols.
        self._container = av.open(f"file:{self._partial}", "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(self._rate).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = 1 / rate
        self._stream.codec_context.thread_count = cpu.available_cores()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is None:
            return
        try:
            self._finish(whole=error is None)
        except (av.error.FFmpegError, OSError) as failure:
            if error is None:
                raise self._failed(failure) from failure
        finally:
            self._partial.unlink(missing_ok=True)

    def _finish(self, whole: bool) -> None:
        try:
            if whole:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()
        if not whole:
            return
        with av.open(f"file:{self._partial}") as written:
            found = sum(packet.size > 0 for packet in written.demux(video=0))
        if found != self._frames:
            raise DferError(
                f"cannot write {self._path}: {found} of {self._frames} frames are in it", "is the disk full?"
            )
        self._partial.replace(self._path)

    def _failed(self, error: BaseException) -> DferError:
        reason = getattr(error, "strerror", None) or str(error)
        return DferError(f"cannot write a video to {self._path}: {reason}", "is the folder there, is the disk full?")
