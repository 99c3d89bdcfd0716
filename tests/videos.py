"""Videos made for tests: marked frames, odd clocks, rotation metadata."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# Offset of the display matrix behind the letters "tkhd" in a version-0 track header box (ISO/IEC 14496-12, 8.3.2).
_MATRIX_OFFSET = 4 + 40
_QUARTER_TURN = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]


def marked(index: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A frame whose grey level tells its index, with a red upper left quarter."""
    image = np.full((height, width, 3), 40 + 4 * index, np.uint8)
    image[: height // 2, : width // 2] = (230, 20, 20)
    return image


def write_video(path: Path, times_ms: list[int], faststart: bool = False) -> Path:
    """An H.264 MP4 with one marked frame at each presentation time."""
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.max_b_frames = 0
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(marked(index), "rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_container(path: Path) -> Path:
    """Twenty marked frames in the container of the suffix: mkv, webm, avi, mov or gif."""
    codecs = {".webm": ("libvpx", "yuv420p"), ".gif": ("gif", "rgb8"), ".avi": ("mpeg4", "yuv420p")}
    codec, pixels = codecs.get(path.suffix, ("libx264", "yuv420p"))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for index in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(marked(index), "rgb24")))
        container.mux(stream.encode())
    return path


def turn_by_metadata(source: Path, target: Path) -> Path:
    """The same pixels with a display matrix of a quarter turn clockwise, as telephones write."""
    content = bytearray(source.read_bytes())
    start = content.index(b"tkhd") + _MATRIX_OFFSET
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in _QUARTER_TURN)
    target.write_bytes(content)
    return target
