"""Where a face with 68 points lies: its frame, its box, and how far it is rolled. Numbers alone."""

from __future__ import annotations

import numpy as np

from dfer_edge.types import Box, Points

# The box in units of s of `face_frame`: YuNet's median on 54 portraits is 2.04 wide and 2.82 high, 0.17 above.
# 1.5 % more since landmarks v2, whose s is that much smaller: the weights see faces as they were trained on them.
WIDTH, HEIGHT, ABOVE = 2.03, 2.84, 0.145

# Points that place a face, and what each adds to the centres of right eye, left eye and mouth (its corners): one small
# product, as this is asked many times a frame.
_PLACING = np.array([*range(36, 48), 48, 54])
_CENTRES = np.kron(np.eye(3), np.ones(6))[:, :14] / np.array([[6], [6], [2]])


def face_frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre between eyes and mouth and the scale s of faces, in any plane and unit.

    s hardly changes when a head turns to the side or nods, since one of its two distances stays.

    Parameters
    ----------
    points
        float [..., 68, 2]

    Returns
    -------
    centre [..., 2], and s [...]: root mean square of the distance between the eyes' centres and the distance from
    their middle to the middle of the mouth's corners
    """
    centres = _CENTRES.astype(points.dtype) @ points.take(_PLACING, axis=-2)
    right, left, mouth = centres[..., 0, :], centres[..., 1, :], centres[..., 2, :]
    eyes = (right + left) / 2
    across, down = left - right, mouth - eyes
    return (eyes + mouth) / 2, np.sqrt((np.square(across).sum(-1) + np.square(down).sum(-1)) / 2)


def box_of(points: Points) -> Box:
    """The box of a face with landmarks [68, 2] (pixel centres at integers), in pixels of the same image."""
    (x, y), s = face_frame(points.astype(np.float64))
    # Edges of pixels count in boxes: centres lie half a pixel in.
    x, y = float(x) + 0.5, float(y - ABOVE * s) + 0.5
    half_width, half_height = float(WIDTH * s / 2), float(HEIGHT * s / 2)
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def roll(points: np.ndarray) -> float:
    """Angle of the line through the eyes of landmarks [68, 2] in radians, clockwise as the image shows it; 0 if NaN."""
    across = (points[42:48] - points[36:42]).sum(axis=0)
    angle = float(np.arctan2(across[1], across[0]))
    return angle if np.isfinite(angle) else 0.0
