"""The source contract, frames in memory, and what a frame must be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.types import Frame, Image

# Below this a face cannot be seen, above it a frame is a mistake.
MIN_SIDE, MAX_SIDE = 16, 16384


class Source:
    """Frames, once through.

    Attributes
    ----------
    name
        For messages.
    is_clip
        The frames are one clip without a clock (arrays, image folders), not to be cut in windows.
    in_memory
        The frames stay alive anyway, so keeping references costs nothing.
    length_hint
        Frames that the header declares, or None.
    frames_lost
        Frames of the last pass, so far, that were there and did not decode.
    """

    name: str = ""
    is_clip: bool = False
    in_memory: bool = False
    length_hint: int | None = None
    frames_lost: int = 0

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError


class ArraySource(Source):
    """A uint8 RGB array [T, H, W, 3] or a sequence of [H, W, 3]."""

    is_clip = in_memory = True

    def __init__(self, frames: Sequence[Any] | np.ndarray[Any, Any], name: str = "the array") -> None:
        self.name = name
        if isinstance(frames, np.ndarray) and frames.ndim != 4:
            raise InvalidInput(f"expected frames [T, H, W, 3], got an array of shape {frames.shape}")
        if len(frames) == 0:
            raise InvalidInput("expected at least one frame, got none")
        self._frames = [checked(frame, f"frame {index}") for index, frame in enumerate(frames)]
        self.length_hint = len(self._frames)
        _require_equal([frame.shape for frame in self._frames])

    def __iter__(self) -> Iterator[Frame]:
        return (Frame(image, index) for index, image in enumerate(self._frames))


def checked(image: Any, where: str) -> Image:
    """``image`` if it is uint8 [H, W, 3] of a sensible size, else InvalidInput."""
    if not isinstance(image, np.ndarray):
        raise InvalidInput(f"expected {where} as a numpy array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        hint = "scale to 0..255 and convert with astype(np.uint8)"
        raise InvalidInput(f"expected {where} as uint8 RGB, got dtype {image.dtype}", hint)
    if image.ndim != 3 or image.shape[2] != 3:
        raise InvalidInput(f"expected {where} of shape [H, W, 3], got {list(image.shape)}")
    check_size(image.shape[1], image.shape[0], where)
    return image


def check_size(width: int, height: int, where: str) -> None:
    """Raises InvalidInput for a size that no frame can have; headers are asked before anything is decoded."""
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        raise InvalidInput(f"expected {where} with sides of {MIN_SIDE} to {MAX_SIDE} pixels, got {width}x{height}")


def _require_equal(shapes: Sequence[tuple[int, ...]]) -> None:
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            first, other = (f"{s[1]}x{s[0]}" for s in (shapes[0], shape))
            raise InvalidInput(f"expected frames of one size, got {first} first and {other} at frame {index}")
