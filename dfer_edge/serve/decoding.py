"""Bodies of requests to frames, in memory alone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import av
import cv2
import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources.frames import Source, checked
from dfer_edge.sources.pictures import kind_in, size_of
from dfer_edge.types import Frame, Image

# Pixels of a frame before it is decoded: a small file must not become gigabytes.
_MOST_PIXELS = 64 << 20
# Of all frames of a clip that comes as images: they are decoded at once.
_MOST_TOGETHER = 512 << 20
_KINDS = ("jpeg", "png", "webp", "bmp")


def decode_image(data: bytes, where: str = "the frame") -> Image:
    """An RGB frame of JPEG, PNG, WebP or BMP bytes.

    Raises
    ------
    InvalidInput
        If they do not decode, or to a frame of no sensible size.
    """
    kind = kind_in(data)
    if kind not in _KINDS:
        raise InvalidInput(f"expected {where} as JPEG, PNG, WebP or BMP, got {len(data)} bytes of something else")
    # A few kilobytes may declare gigabytes: what does not say its size is not decoded.
    width, height = size_of(data, kind)
    if width is None or height is None:
        raise InvalidInput(f"expected {where} with a size in its header, got {len(data)} bytes of {kind}")
    if width * height > _MOST_PIXELS:
        raise InvalidInput(f"expected {where} of at most {_MOST_PIXELS} pixels, got {width}x{height}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InvalidInput(f"expected {where} as {kind}, got {len(data)} bytes that do not decode")
    return checked(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), where)


def decode_images(parts: Sequence[bytes]) -> list[Image]:
    """:func:`decode_image` of the frames of a clip.

    Raises
    ------
    InvalidInput
        As there; for frames of several sizes, or of more pixels together than may be in memory.
    """
    images: list[Image] = []
    for index, data in enumerate(parts):
        images.append(image := decode_image(data, f"frame {index}"))
        if image.shape != images[0].shape:
            raise InvalidInput("expected frames of one size, got several")
        if (pixels := image.shape[0] * image.shape[1] * len(parts)) > _MOST_TOGETHER:
            raise InvalidInput(
                f"expected at most {_MOST_TOGETHER} pixels of frames, got {pixels}", "send smaller frames or a video"
            )
    return images


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
