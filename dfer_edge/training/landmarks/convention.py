"""From points of the mesh to points as people annotate photographs, learnt from public networks on renders.

face-api's 68-point network (MIT) and OpenSeeFace's 66 points (BSD-2) were trained on annotated photographs. What they
see on renders differs from the mesh by their errors and by the annotators' habits; the part of the difference that a
linear function of the face's shape explains is taken for the habits. No real face is needed.
"""

from __future__ import annotations

import numpy as np

from dfer_edge.synthesis.annotation import evenly

_MODES, _DAMPING = 24, 1e-3
# Shapes further out than the fit has seen count as its edge; the correction fades out for heads turned away, where the
# public networks guess.
_EDGE = 2.5
_FIT_YAW, _FADE_YAW = 0.7, (0.8, 1.2)
# Renders whose public answers agree with each other and with the mesh, in units of the outer eye distance.
_AGREE, _NEAR = 0.09, 0.12

FACEAPI, OPENSEEFACE, BOTH = (0,), (1,), (0, 1)
# Points, axis, share of the correction at the mean shape, share of its change with the shape, and whose answers it is
# learnt from. Chosen on annotated photographs; see the model card. The change of the jaw across is how it slides round
# the head when that turns: people put the chin below the mouth that they see.
PARTS: tuple[tuple[tuple[int, ...], int, float, float, tuple[int, ...]], ...] = (
    ((*range(4), *range(13, 17)), 0, 0.5, 0.0, FACEAPI),
    (tuple(range(17)), 0, 0.0, 1.2, BOTH),
    (tuple(range(17)), 1, 0.8, 0.8, OPENSEEFACE),
    (tuple(range(17, 27)), 1, 0.7, 0.7, OPENSEEFACE),
    (tuple(range(27, 36)), 0, 0.6, 0.6, FACEAPI),
    (tuple(range(27, 36)), 1, 0.8, 0.8, FACEAPI),
    (tuple(range(36, 48)), 0, 1.0, 1.0, FACEAPI),
    (tuple(range(36, 48)), 1, 0.8, 0.8, BOTH),
    (tuple(range(49, 54)) + tuple(range(55, 68)), 0, 1.0, 1.0, FACEAPI),
    (tuple(range(48, 68)), 1, 0.8, 0.8, FACEAPI),
)
# Brows are marked to the ends of their hairs, and the bridge begins where it is deepest: shares of the way between two
# points, beyond the first and the last.
_BROW_ENDS, _BRIDGE_UP = 0.18, 0.22


def _frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = points.mean(axis=1, keepdims=True)
    return centre, np.sqrt(np.square(points - centre).sum(2).mean(1))[:, None, None]


def annotated(points: np.ndarray, public: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Points as annotators would place them.

    Parameters
    ----------
    points
        float [N, 68, 2] of renders, from the mesh.
    public
        float [N, 2, 68, 2]: what face-api and OpenSeeFace see; NaN where they see none.
    head
        float [N, 3]: yaw, pitch, roll, rad.

    Returns
    -------
    float [N, 68, 2]
    """
    unit = np.linalg.norm(points[:, 45] - points[:, 36], axis=1)
    mean = public.mean(axis=1)
    apart = np.linalg.norm(public[:, 0] - public[:, 1], axis=2).mean(1) / unit
    off = np.linalg.norm(mean - points, axis=2).mean(1) / unit
    fit = (np.abs(head[:, 0]) < _FIT_YAW) & (apart < _AGREE) & (off < _NEAR)
    centre, size = _frame(points)
    shape = ((points - centre) / size).reshape(len(points), -1)
    middle = shape[fit].mean(axis=0)
    _, strength, modes = np.linalg.svd(shape[fit] - middle, full_matrices=False)
    scale = strength[:_MODES] / np.sqrt(fit.sum())
    terms = np.clip((shape - middle) @ modes[:_MODES].T / scale, -_EDGE, _EDGE)
    terms = np.concatenate([np.ones((len(terms), 1)), terms], axis=1)
    normal = terms[fit].T @ terms[fit] + _DAMPING * fit.sum() * np.eye(terms.shape[1])
    first, last = _FADE_YAW
    fade = np.clip((last - np.abs(head[:, 0])) / (last - first), 0.0, 1.0)[:, None, None]
    out = points.astype(np.float64)
    for part, axis, constant, varying, whose in PARTS:
        change = ((public[:, whose].mean(axis=1) - points) / size)[fit][:, part, axis]
        map_ = np.linalg.solve(normal, terms[fit].T @ change)
        shares = np.array([constant] + [varying] * _MODES)
        out[:, part, axis] += (terms * shares) @ map_ * (size * fade)[:, 0]
    return _drawn(out)


def _drawn(points: np.ndarray) -> np.ndarray:
    """Points [N, 68, 2] with longer brows, a bridge from its root, and an evenly spread jaw."""
    out = points.copy()
    for first, last, before, after in ((17, 21, _BROW_ENDS, _BROW_ENDS), (22, 26, _BROW_ENDS, _BROW_ENDS)):
        line = points[:, first : last + 1]
        out[:, first] += before * (line[:, 0] - line[:, 1])
        out[:, last] += after * (line[:, -1] - line[:, -2])
        out[:, first : last + 1] = evenly(out[:, first : last + 1])
    out[:, 27] += _BRIDGE_UP * (points[:, 27] - points[:, 28])
    out[:, 30] += _BRIDGE_UP / 2 * (points[:, 29] - points[:, 30])
    for first, last in ((27, 30), (0, 8), (8, 16)):
        out[:, first : last + 1] = evenly(out[:, first : last + 1])
    return out
