"""Glass to label: the moment of capture stands in the pixels, so no bookkeeping between camera and label is trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.sources.frames import Source
from dfer_edge.types import Frame, Image

# Side of a bit's square in pixels, and bits of a time.
_SIDE, _BITS = 4, 64


def stamp(image: Image, at_s: float) -> Image:
    """A copy of a frame [H, W, 3] with a time as black and white squares from its upper left corner on.

    Raises
    ------
    InvalidInput
        If the frame is too small.
    """
    a_row = image.shape[1] // _SIDE
    if a_row * (image.shape[0] // _SIDE) < _BITS:
        raise InvalidInput(f"expected a frame with room for {_BITS} squares of {_SIDE} pixels, got {image.shape[:2]}")
    marked = image.copy()
    for place, bit in enumerate(np.unpackbits(np.frombuffer(np.float64(at_s).tobytes(), np.uint8))):
        top, left = place // a_row * _SIDE, place % a_row * _SIDE
        marked[top : top + _SIDE, left : left + _SIDE] = 255 * bit
    return marked


def read_stamp(image: Image) -> float:
    """The time in a frame that :func:`stamp` marked."""
    a_row = image.shape[1] // _SIDE
    places = np.arange(_BITS)
    centres = image[places // a_row * _SIDE + _SIDE // 2, places % a_row * _SIDE + _SIDE // 2, 1]
    return float(np.frombuffer(np.packbits(centres > 127).tobytes(), np.float64)[0])


class StampedSource(Source):
    """A live source whose frames carry the moment at which they were handed out.

    Parameters
    ----------
    source
        Gives the frames at their moments.
    now
        The clock.
    """

    live = True

    def __init__(self, source: Source, now: Callable[[], float]) -> None:
        self.name, self._source, self._now = source.name, source, now

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            yield Frame(stamp(frame.image, self._now()), frame.index, frame.time_s)
