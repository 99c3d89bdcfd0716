"""The 68 points of iBUG 300-W on a rendered face, as people annotate photographs, not as the mesh numbers them.

Four differences from fixed vertices. The jaw line is the visible outline: in a turned head the far side's points lie
on the cheek, and the chin's on its lower edge, not on the front of the chin; below the mouth its points are evenly
spread. The bridge of the nose runs from the level of the eyes to the lower end of the tip. Brow points lie on the
upper edge of the painted brow (:mod:`painting`). All others are vertices of the published list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfer_edge.synthesis.face_model import FaceModel

JAW = slice(0, 17)
# The published bridge begins above the eyes and ends at the foremost point of the nose: shares of the way to the next
# point below, for 27 to 28 and for 30 to 33.
_ROOT_SHARE, _TIP_SHARE = 0.3, 0.3

# Each jaw point may move along a great circle about a centre inside the head, towards the front of the face or away.
_CENTRE_CM = np.array([0.0, -1.0, 3.0])
_FRONT = np.array([0.0, -0.15, 1.0])
_FORWARD_DEG, _STEP_DEG = 56, 4
# How far behind the published vertex: not at all by the ears, under the jaw elsewhere.
_BEHIND_DEG = np.array([0, 0, 4, 8, 12, 12, 16, 16, 16, 16, 16, 12, 12, 8, 4, 0, 0])
_FACE = slice(0, 9409)  # without ears, back of the head and neck
_ANGLES_DEG = np.arange(-int(_BEHIND_DEG.max()), _FORWARD_DEG, _STEP_DEG)


@dataclass(frozen=True)
class Outline:
    """Where the jaw points of one model may lie.

    Attributes
    ----------
    vertices
        int64 [68 + 17 * M + N]: the published vertices, then M places of each jaw point, then any others asked for.
    outward
        float64 [17, 3]: the jaw line is the outermost of them in this direction of head space.
    """

    vertices: np.ndarray
    outward: np.ndarray


def make_outline(model: FaceModel, others: np.ndarray | None = None) -> Outline:
    """The outline of a model; ``others`` [N] are vertices to be followed beside it."""
    jaw = model.neutral[model.landmarks[JAW]].astype(np.float64)
    outward = jaw - _CENTRE_CM
    outward[:, 2] = 0.0
    more = np.zeros(0, np.int64) if others is None else np.asarray(others, np.int64)
    return Outline(np.concatenate([model.landmarks, _places(model, jaw).ravel(), more]), outward)


def _places(model: FaceModel, jaw: np.ndarray) -> np.ndarray:
    vertices = np.flatnonzero(model.skin)[_FACE]
    rays = model.neutral[vertices] - _CENTRE_CM
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    front = _FRONT / np.linalg.norm(_FRONT)
    rows = []
    for point, behind in zip(jaw, _BEHIND_DEG, strict=True):
        start = (point - _CENTRE_CM) / np.linalg.norm(point - _CENTRE_CM)
        aside = front - (front @ start) * start
        aside /= np.linalg.norm(aside)
        angles = np.deg2rad(np.clip(_ANGLES_DEG, -behind, None))
        ways = np.cos(angles)[:, None] * start + np.sin(angles)[:, None] * aside
        rows.append(vertices[(ways @ rays.T).argmax(axis=1)])
    return np.array(rows, np.int64)


def annotate(planes: np.ndarray, rotation: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """The 68 points in the image plane.

    Parameters
    ----------
    planes
        float [T, 68 + 17 * M + N, 2]: the vertices of :class:`Outline` in the image plane, y up.
    rotation
        float [T, 3, 3] of the head.
    outward
        Of :class:`Outline`.

    Returns
    -------
    float [T, 68, 2]
    """
    points = planes[:, :68].copy()
    places = planes[:, 68 : 68 + 17 * len(_ANGLES_DEG)].reshape(len(planes), 17, -1, 2)
    ways = np.einsum("tij,nj->tni", rotation, outward)[..., :2]
    outermost = np.einsum("tnmk,tnk->tnm", places, ways).argmax(axis=2)
    points[:, JAW] = np.take_along_axis(places, outermost[..., None, None], axis=2)[:, :, 0]
    return conventional(points)


def conventional(points: np.ndarray) -> np.ndarray:
    """Points [T, 68, 2] with an evenly spread lower jaw and the bridge of the nose where people draw it."""
    points = points.copy()
    points[:, 27] += _ROOT_SHARE * (points[:, 28] - points[:, 27])
    points[:, 30] += _TIP_SHARE * (points[:, 33] - points[:, 30])
    for first, last in ((4, 8), (8, 12), (27, 30)):
        points[:, first : last + 1] = evenly(points[:, first : last + 1])
    return points


def evenly(lines: np.ndarray) -> np.ndarray:
    """As many points on each polyline [T, N, 2], the same distance along it apart."""
    lengths = np.linalg.norm(np.diff(lines, axis=1), axis=2)
    along = np.concatenate([np.zeros((len(lines), 1)), np.cumsum(lengths, axis=1)], axis=1)  # [T, N]
    at = np.linspace(0.0, along[:, -1], lines.shape[1], axis=1)[:, 1:-1]  # ends stay
    part = (at[..., None] >= along[:, None, 1:-1]).sum(axis=2)  # [T, N - 2]
    apart = np.maximum(np.diff(along, axis=1), 1e-12)  # points that coincide are no division by zero
    slopes = np.diff(lines.astype(np.float64), axis=1) / apart[..., None]
    before, slope, start = (np.take_along_axis(x, part[..., None], axis=1) for x in (along[..., None], slopes, lines))
    return np.concatenate([lines[:, :1], slope * (at[..., None] - before) + start, lines[:, -1:]], axis=1)
