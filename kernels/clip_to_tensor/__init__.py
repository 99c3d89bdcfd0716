"""`clip_to_tensor`: face crops out of uint8 frames, resized, normalised and laid out for the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels.clip_to_tensor.reference import crop_resize, normalise
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Image

__all__ = ["clip_to_tensor", "crop_resize", "normalise"]


def clip_to_tensor(frames: Sequence[Image] | Image, boxes: Sequence[Box], spec: ModelSpec) -> npt.NDArray[np.float32]:
    """One clip as a network reads it.

    Parameters
    ----------
    frames
        T frames, uint8 RGB [H, W, 3].
    boxes
        T square crops in pixels, rounded to whole pixels; what lies outside the frame repeats its edge.
    spec
        Size, mean and standard deviation.

    Returns
    -------
    float32 [3, T, S, S].

    Raises
    ------
    InvalidInput
        If there are not as many boxes as frames, or none.
    """
    if not len(frames) or len(frames) != len(boxes):
        raise InvalidInput(f"expected as many boxes as frames and at least one, got {len(frames)} and {len(boxes)}")
    return normalise(np.stack([crop_resize(f, b, spec.size) for f, b in zip(frames, boxes, strict=True)]), spec)
