"""The morphable face fitted to landmarks: pose, identity and action units of frames of one person.

A weak-perspective camera and shapes that add up (Blanz and Vetter, "A morphable model for the synthesis of 3D faces",
SIGGRAPH 1999). All unknowns have priors, so that the fit is a maximum a posteriori estimate with units that are never
negative; identity and small errors of the pose are eliminated exactly, not searched for.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dfer_edge.signals.basis import Basis, Floats

# Standard deviations in units of s: of a landmark, and of what is left of a pose (shifts, scale and angles).
_NOISE, _POSE = 0.03, 1.0
# Of an action unit's intensity about zero.
_UNIT = 0.4
_ROUNDS, _EXCHANGES, _SWEEPS, _HAIR = 2, 12, 25, 1e-9
# Frames of one person are no independent pictures: more than this many say no more about the identity.
_MOST_FRAMES = 10.0
_POSE_MODES = 6


@dataclasses.dataclass
class Identity:
    """What is known of a person's resting face: information [N, N] and its vector [N] beside the prior, and frames."""

    information: Floats
    vector: Floats
    frames: int = 0

    @classmethod
    def unknown(cls, basis: Basis) -> Identity:
        count = len(basis.identity)
        return cls(np.zeros((count, count)), np.zeros(count))

    @property
    def precision(self) -> Floats:
        """[N, N], with the prior."""
        return np.asarray(np.eye(len(self.vector)) + self._trust * self.information)

    @property
    def mode(self) -> Floats:
        """[N]: the most probable identity."""
        return np.asarray(np.linalg.solve(self.precision, self._trust * self.vector))

    @property
    def _trust(self) -> float:
        return min(1.0, _MOST_FRAMES / max(self.frames, 1))

    def learn(self, information: Floats, vector: Floats) -> None:
        """Add what frames say: [T, N, N] and [T, N]."""
        self.information, self.vector = self.information + information.sum(0), self.vector + vector.sum(0)
        self.frames += len(vector)


def fit(points: Floats, basis: Basis, identity: Identity) -> Floats:
    """Intensities of action units, at least 0, in T frames of one person.

    Parameters
    ----------
    points
        [T, 68, 2] finite, in pixels, y down.
    basis
        The shapes.
    identity
        Of the person; it learns from these frames.

    Returns
    -------
    [T, K] in the order of ``basis.names``; 1 is what the face model calls full intensity
    """
    plane = points[:, basis.points] * np.array([1.0, -1.0])
    count, modes = len(basis.names), len(basis.identity)
    units = np.zeros((len(plane), count))
    for number in range(_ROUNDS):
        shape = basis.mean + np.tensordot(identity.mode, basis.identity, 1) + np.tensordot(units, basis.units, 1)
        rotation, scale, shift = _pose(plane, shape)
        seen = (plane - shift) / scale[:, None, None]
        columns = _columns(basis, rotation, np.einsum("tij,tpj->tpi", rotation, shape))
        rest = (seen - basis.mean @ rotation[:, :2].transpose(0, 2, 1)).reshape(len(plane), -1)
        products = columns @ columns.transpose(0, 2, 1) / _NOISE**2
        sides = (columns @ rest[..., None])[..., 0] / _NOISE**2
        if number == 0:
            identity.learn(*_identity_says(products, sides, count, modes))
        units = _units(products, sides, count, identity)
    return units


def _pose(plane: Floats, shape: Floats) -> tuple[Floats, Floats, Floats]:
    """Rotation [T, 3, 3], scale [T] and shift [T, 1, 2] of points [T, P, 2] that show ``shape`` [T, P, 3]."""
    middle, centre = plane.mean(1, keepdims=True), shape.mean(1, keepdims=True)
    flat, solid = plane - middle, shape - centre
    spread = solid.transpose(0, 2, 1) @ solid
    affine = np.linalg.solve(spread, solid.transpose(0, 2, 1) @ flat).transpose(0, 2, 1)
    left, sizes, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    scale = np.maximum(sizes.mean(1), 1e-9)
    return rotation, scale, middle - scale[:, None, None] * (centre @ rows.transpose(0, 2, 1))


def _columns(basis: Basis, rotation: Floats, turned: Floats) -> Floats:
    """How the points of T frames move with units, identity and pose: [T, K + N + 6, P * 2]."""
    length = len(rotation)
    shapes = np.concatenate([basis.units, basis.identity])
    moves = shapes[None] @ rotation[:, None, :2].transpose(0, 1, 3, 2)
    pose = np.zeros((length, _POSE_MODES, turned.shape[1], 2))
    pose[:, 0, :, 0] = pose[:, 1, :, 1] = 1.0
    pose[:, 2] = turned[..., :2]
    pose[:, 3, :, 0], pose[:, 3, :, 1] = -turned[..., 1], turned[..., 0]
    pose[:, 4, :, 0] = pose[:, 5, :, 1] = turned[..., 2]
    return np.concatenate([moves, pose], 1).reshape(length, len(shapes) + _POSE_MODES, -1)


def _identity_says(products: Floats, sides: Floats, count: int, modes: int) -> tuple[Floats, Floats]:
    """Information [T, N, N] and vector [T, N] about the identity, whatever units and pose are within their priors."""
    own, others = np.r_[count : count + modes], np.r_[0:count, count + modes : count + modes + _POSE_MODES]
    loose = products[:, others[:, None], others] + np.diag(_priors(count, 0)[others - modes * (others >= count)])
    across = products[:, own[:, None], others]
    solved = np.linalg.solve(loose, np.concatenate([across.transpose(0, 2, 1), sides[:, others, None]], 2))
    information = products[:, own[:, None], own] - across @ solved[..., :modes]
    return information, sides[:, own] - (across @ solved[..., modes:])[..., 0]


def _priors(count: int, modes: int) -> Floats:
    return np.concatenate([np.full(count, _UNIT**-2), np.ones(modes), np.full(_POSE_MODES, _POSE**-2)])


def _units(products: Floats, sides: Floats, count: int, identity: Identity) -> Floats:
    """The most probable units [T, K], identity and pose eliminated."""
    modes = len(identity.vector)
    own, others = slice(0, count), slice(count, None)
    # A frame must not be told twice what it said of the identity itself.
    known = np.eye(modes) + (identity.precision - np.eye(modes)) * (1 - 1 / max(identity.frames, 1))
    prior = np.diag(np.concatenate([np.zeros(modes), np.full(_POSE_MODES, _POSE**-2)]))
    prior[:modes, :modes] = known
    pulled = np.concatenate([known @ (identity.mode if identity.frames > 1 else 0 * identity.mode), np.zeros(6)])
    across = products[:, own, others]
    right = np.concatenate([across.transpose(0, 2, 1), (sides[:, others] + pulled)[..., None]], 2)
    solved = np.linalg.solve(products[:, others, others] + prior, right)
    square = products[:, own, own] - across @ solved[..., :count] + np.diag(np.full(count, _UNIT**-2))
    side = sides[:, own] - (across @ solved[..., count:])[..., 0]
    return _at_least_zero(square, side)


def _at_least_zero(square: Floats, side: Floats) -> Floats:
    """Minimum of u A u / 2 - b u over u >= 0 for T positive definite A [T, K, K] and b [T, K].

    Block principal pivoting (Portugal, Judice and Vicente, Mathematics of Computation 63, 1994): which are zero is
    guessed, solved and mended, all frames at once; what a cycle may leave is mended one by one.
    """
    free, still = np.ones(side.shape, bool), np.eye(side.shape[1])
    for _ in range(_EXCHANGES):
        found = np.linalg.solve(
            np.where(free[:, :, None] & free[:, None, :], square, still), np.where(free, side, 0.0)[..., None]
        )[..., 0]
        slope = side - (square @ found[..., None])[..., 0]
        below, wanted = free & (found < 0), ~free & (slope > _HAIR)
        if not below.any() and not wanted.any():
            return np.asarray(found)
        free = (free & ~below) | wanted
    found = np.maximum(0.0, found)
    for _ in range(_SWEEPS):
        for k in range(found.shape[1]):
            slope = side[:, k] - (square[:, k] * found).sum(1)
            found[:, k] = np.maximum(0.0, found[:, k] + slope / square[:, k, k])
    return np.asarray(found)
