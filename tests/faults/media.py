"""Odd but valid media, made here: each is what some telephone, camera or tool writes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from dfer_edge.sources.opening import open_source
from dfer_edge.types import Frame
from tests.videos import marked


def write_h264(
    path: Path,
    frames: Sequence[np.ndarray],
    aspect: Fraction = Fraction(1),
    interlaced: bool = False,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    key_every: int = 250,
) -> Path:
    """RGB frames as H.264, one at each of ``times`` in units of ``time_base``."""
    options = {"x264-params": f"keyint={key_every}:scenecut=0:bframes=0" + (":tff=1" if interlaced else "")}
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.sample_aspect_ratio = "yuv420p", aspect
        stream.time_base = stream.codec_context.time_base = time_base
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = (times[index] if times else index), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def moving(count: int, height: int = 128, width: int = 192) -> list[np.ndarray]:
    """Marked frames with noise that a codec has to spend bytes on."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (height, width, 3), np.uint8)
    return [np.roll(marked(k % 50, height, width) // 2 + noise, 3 * k, 1) for k in range(count)]


def write_frames(path: Path, frames: Sequence[np.ndarray], codec: str, pixels: str = "yuv420p", **tags: Any) -> Path:
    """RGB frames at 25 a second in the container of the suffix; ``tags`` of the codec, such as ``color_trc``."""
    with av.open(str(path), "w") as container:
        own = {"libx265": {"x265-params": "log-level=none:crf=4"}}
        stream = container.add_stream(codec, rate=25, options={"g": "10", **own.get(codec, {})})
        (stream.height, stream.width), stream.pix_fmt = frames[0].shape[:2], pixels
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, "rgb48le" if image.dtype == np.uint16 else "rgb24")
            matrix = tags.get("colorspace")
            container.mux(stream.encode(frame.reformat(format=pixels, dst_colorspace=matrix)))
        container.mux(stream.encode())
    return path


def write_two_streams(path: Path, default: int) -> Path:
    """A red stream of 96x64 and a blue one of 64x48; the one with number ``default`` is marked as the default."""
    colours, sizes = ((200, 0, 0), (0, 0, 200)), ((64, 96), (48, 64))
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in colours]
        for number, stream in enumerate(streams):
            (stream.height, stream.width), stream.pix_fmt = sizes[number], "yuv420p"
            flag = av.stream.Disposition.default
            stream.disposition = flag if number == default else av.stream.Disposition(0)
        for _ in range(5):
            for stream, colour, (height, width) in zip(streams, colours, sizes, strict=True):
                image = np.full((height, width, 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A tenth of a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_matrix(source: Path, target: Path, matrix: Sequence[int]) -> Path:
    """The MP4 with another display matrix, nine numbers of 16.16 (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(source.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    target.write_bytes(content)
    return target


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that declares a size and has no pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def decoded(path: object) -> list[Frame]:
    return list(open_source(path))


def close(a: np.ndarray, b: np.ndarray, limit: float = 6.0) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) <= limit


PATCHES = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (20, 20, 20), (235, 235, 235))


def patches(side: int) -> np.ndarray:
    return np.concatenate([np.full((side, side, 3), colour, np.uint8) for colour in PATCHES], 1)


def colours(image: np.ndarray) -> np.ndarray:
    side = image.shape[1] // len(PATCHES)
    inner = slice(side // 4, side - side // 4)
    found: np.ndarray = image.reshape(side, len(PATCHES), side, 3)[inner, :, inner].mean((0, 2))
    return found
