"""From points of the mesh to points as people annotate photographs, learnt from public networks on renders.

face-api's 68-point network (MIT) and OpenSeeFace's 66 points (BSD-2) were trained on annotated photographs. What they
see on renders differs from the mesh by their errors and by the annotators' habits; the part of the difference that a
linear function of the face's shape explains is taken for the habits. No real face is needed.
"""

from __future__ import annotations

import numpy as np

_MODES, _DAMPING = 24, 1e-3
# Shapes further out than the fit has seen count as its edge; the correction fades out for heads turned away, where the
# public networks guess.
_EDGE = 2.5
_FIT_YAW, _FADE_YAW = 0.7, (0.8, 1.2)
# Renders whose public answers agree with each other and with the mesh, in units of the outer eye distance.
_AGREE, _NEAR = 0.09, 0.12

# Points, share of the correction in x and in y, and whose: face-api's alone (0) or the mean of both networks (None).
# Chosen on annotated photographs; see the model card.
PARTS: tuple[tuple[slice, float, float, int | None], ...] = (
    (slice(0, 17), 0.0, 0.6, None),
    (slice(27, 36), 0.6, 0.8, 0),
    (slice(36, 48), 0.7, 0.8, None),
    (slice(48, 68), 1.0, 0.7, 0),
)


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
    for part, x_share, y_share, whose in PARTS:
        seen = mean if whose is None else public[:, whose]
        change = ((seen - points) / size)[fit, part].reshape(int(fit.sum()), -1)
        map_ = np.linalg.solve(normal, terms[fit].T @ change)
        offset = (terms @ map_).reshape(len(points), -1, 2) * size * fade
        out[:, part] += offset * np.array([x_share, y_share])
    return out
