"""Bodies of requests to frames, in memory alone."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import cv2
import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources.frames import Source, checked
from dfer_edge.types import Frame, Image

# Pixels of a frame before it is decoded: a small file must not become gigabytes.
_MOST_PIXELS = 64 << 20


def decode_image(data: bytes, where: str = "the frame") -> Image:
    """An RGB frame of JPEG, PNG, WebP or BMP bytes.

    Raises
    ------
    InvalidInput
        If they do not decode, or to a frame of no sensible size.
    """
    width, height = _declared_size(data)
    if width * height > _MOST_PIXELS:
        raise InvalidInput(f"expected {where} of at most {_MOST_PIXELS} pixels, got {width}x{height}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise InvalidInput(f"expected {where} as JPEG, PNG, WebP or BMP, got {len(data)} bytes of something else")
    return checked(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), where)


def _declared_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, the one format that packs so well that its size must be read first; else 0."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return 0, 0


class BytesSource(Source):
    """A video in memory.

    Parameters
    ----------
    data
        In any container that PyAV reads.
    most_frames
        A longer video is an error.
    """

    name = "the video"

    def __init__(self, data: bytes, most_frames: int) -> None:
        self._data, self._most = data, most_frames

    def __iter__(self) -> Iterator[Frame]:
        try:
            with av.open(io.BytesIO(self._data)) as container:
                yield from self._frames(container)
        except (av.error.FFmpegError, IndexError) as error:
            raise InvalidInput(f"expected a video that decodes, got {len(self._data)} bytes: {error}") from error

    def _frames(self, container: object) -> Iterator[Frame]:
        first: float | None = None
        last = -1.0
        index = -1
        for index, decoded in enumerate(container.decode(video=0)):  # type: ignore[attr-defined]
            if index >= self._most:
                raise InvalidInput(f"expected at most {self._most} frames, got more")
            if decoded.width * decoded.height > _MOST_PIXELS:
                raise InvalidInput(
                    f"expected frames of at most {_MOST_PIXELS} pixels, got {decoded.width}x{decoded.height}"
                )
            stamp = float(decoded.time or 0.0)
            first = stamp if first is None else first
            # A stamp that does not move forward is no clock.
            last = stamp - first if stamp - first > last else last + 0.04
            yield Frame(checked(decoded.to_ndarray(format="rgb24"), f"frame {index}"), index, last)
        if index < 0:
            raise InvalidInput("expected a video with frames, none decode")


class ImagesSource(Source):
    """Frames that came as single images."""

    name = "the frames"
    is_clip = in_memory = True

    def __init__(self, images: list[Image]) -> None:
        self._images = images
        self.length_hint = len(images)

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(image, index) for index, image in enumerate(self._images))
