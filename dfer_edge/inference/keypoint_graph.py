"""The facial graph of `keypoint_tsa`: which landmarks are its nodes, how they are joined and grouped.

Landmarks are the 68 points of dlib's layout, pixels, x then y. The paper (003) names the groups and their sizes and
shows the graph in a figure only, so the points, the cheek triangles and the edges are our choice (models.md section 4).
They are closed under mirroring, which makes a horizontal flip a test of the whole branch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput

Points = npt.NDArray[np.float64]

LANDMARKS = 68

# Nodes 0-4 left brow and eye, 5-9 right brow and eye, 10-11 nose bridge, 12-15 mouth.
POINTS = (17, 19, 21, 36, 39, 22, 24, 26, 42, 45, 27, 30, 48, 51, 54, 57)
# Nodes 16 and 17: centroids, because dlib has no point on the cheeks.
CHEEKS = ((3, 31, 41), (13, 35, 46))
NODES = len(POINTS) + len(CHEEKS)

# Undirected, 26.
EDGES = (
    *((0, 1), (1, 2), (3, 4), (0, 3), (2, 4)),
    *((5, 6), (6, 7), (8, 9), (5, 8), (7, 9)),
    *((2, 10), (5, 10), (4, 10), (8, 10), (10, 11), (11, 13)),
    *((12, 13), (13, 14), (14, 15), (15, 12)),
    *((3, 16), (12, 16), (11, 16)),
    *((9, 17), (14, 17), (11, 17)),
)

# Regions whose nodes are averaged; the bridge (10, 11) is in none and only feeds its neighbours.
GROUPS = (tuple(range(5)), tuple(range(5, 10)), tuple(range(12, NODES)))
BRIDGE = (10, 11)

# Node j of a mirrored face lies where node MIRROR_NODES[j] lay.
MIRROR_NODES = (7, 6, 5, 9, 8, 2, 1, 0, 4, 3, 10, 11, 14, 13, 12, 15, 17, 16)

# The same for the 68 points: jaw, brows, nose, eyes, outer and inner lip.
MIRROR_POINTS = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)


def selection() -> Points:
    """[18, 68] matrix that takes landmarks to nodes: rows pick one point or average three."""
    matrix = np.zeros((NODES, LANDMARKS))
    matrix[np.arange(len(POINTS)), POINTS] = 1
    for row, triangle in enumerate(CHEEKS, len(POINTS)):
        matrix[row, triangle] = 1 / len(triangle)
    return matrix


def links(self_loop: bool) -> Points:
    """[18, 18] symmetric matrix of zeros and ones, with a diagonal of ones if ``self_loop``."""
    matrix = np.eye(NODES) if self_loop else np.zeros((NODES, NODES))
    for a, b in EDGES:
        matrix[a, b] = matrix[b, a] = 1
    return matrix


def adjacency(self_loop: bool = False) -> Points:
    """``links`` with rows that sum to 1: row j of ``adjacency() @ V`` is the mean of the neighbours of node j."""
    matrix = links(self_loop)
    normalised: Points = matrix / matrix.sum(1, keepdims=True)
    return normalised


def mirror(landmarks: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.floating]:
    """Landmarks [..., 68, 2] in pixels of an image ``size`` wide after a horizontal flip of that image.

    Pixel centres are at integers, so x becomes ``size - 1 - x``; each point takes the number of its counterpart.
    """
    flipped = landmarks[..., list(MIRROR_POINTS), :].copy()
    flipped[..., 0] = size - 1 - flipped[..., 0]
    return flipped


def mean_shape() -> Points:
    """[68, 2] upright, symmetric face in units of the crop's side (0..1): a stand-in where no face was found.

    Ellipses, placed where the median of two landmark networks on 54 upright portraits lies in a crop of 1.1 face boxes:
    eyes at 0.38 and mouth at 0.74 of the height.
    """
    turn = np.linspace(0, np.pi, 17)
    jaw = np.stack([0.5 - 0.33 * np.cos(turn), 0.40 + 0.56 * np.sin(turn)], 1)
    arch = np.sin(np.linspace(0, np.pi, 5))
    brow = np.stack([np.linspace(0.23, 0.42, 5), 0.305 - 0.033 * arch], 1)
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.40, 0.58, 4)], 1)
    nostrils = np.stack([np.linspace(0.44, 0.56, 5), 0.607 + 0.016 * arch], 1)
    eye = _ellipse((0.35, 0.387), (0.063, 0.019), 6)
    lips = _ellipse((0.5, 0.745), (0.13, 0.064), 12), _ellipse((0.5, 0.738), (0.12, 0.027), 8)
    shape = np.concatenate([jaw, brow, brow, bridge, nostrils, eye, eye, *lips])
    # Right brow and eye: mirror images, numbered as in the layout.
    for side in (slice(22, 27), slice(42, 48)):
        shape[side] = (1, 0) + shape[list(MIRROR_POINTS[side])] * (-1, 1)
    return shape


def _ellipse(centre: tuple[float, float], radii: tuple[float, float], points: int) -> Points:
    """Points from the left corner over the top (y points down)."""
    turn = np.pi - 2 * np.pi * np.arange(points) / points
    return np.stack([np.cos(turn), -np.sin(turn)], 1) * radii + centre


def fill_missing(landmarks: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.floating]:
    """Landmarks [T, 68, 2] without gaps: frames with NaN repeat the last frame seen, before that the mean shape.

    The paper does not say what happens to frames without a face. ``size`` is the crop's side in pixels.

    Raises
    ------
    InvalidInput
        If the shape is not [T, 68, 2].
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (LANDMARKS, 2):
        raise InvalidInput(f"expected landmarks of shape [T, {LANDMARKS}, 2], got {list(landmarks.shape)}")
    filled, last = landmarks.copy(), (mean_shape() * size - 0.5).astype(landmarks.dtype)
    for frame in filled:
        if np.isnan(frame).any():
            frame[:] = last
        last = frame
    return filled
