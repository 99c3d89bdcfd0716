"""Make ``dfer_edge/assets/expression68.npz`` from the ICT-FaceKit face model.

python -m dfer_edge.signals.build FACE_MODEL dfer_edge/assets/expression68.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dfer_edge.faces.aligned import face_frame
from dfer_edge.synthesis.action_units import ACTION_UNITS, AU_INDEX, shape_matrix
from dfer_edge.synthesis.annotation import conventional
from dfer_edge.synthesis.face_model import FaceModel, load_face_model

# Those that 68 points show: the others, e.g. 7, 14, 23, 24 and 28, correlate below 0.3 with their truth under the noise
# of a landmark network, and lip corners down (15) read 0 on all of 729 pictures of people. 22 stands for speech.
REPORTED = (1, 2, 4, 5, 6, 9, 10, 12, 17, 20, 26, 43)
SILENT = (15, 22)
# The jaw line is an outline: its points slide over the skin when a head turns. Its three lowest stay.
POINTS = (*range(7, 10), *range(17, 68))
IDENTITY_MODES = 12


def make_basis(model: FaceModel) -> dict[str, np.ndarray]:
    """The arrays of :class:`dfer_edge.signals.basis.Basis`, lengths as float16."""
    neutral = model.neutral[model.landmarks].astype(np.float64)
    identity = model.identity.reshape(len(model.identity), -1, 3)[:, model.landmarks].astype(np.float64)
    shapes = model.expression[:, model.landmarks].astype(np.float64)
    matrix = shape_matrix(model.shape_names).reshape(len(ACTION_UNITS), 2, -1).sum(1)
    chosen = [matrix[AU_INDEX[unit]] for unit in (*REPORTED, *SILENT)]
    (centre, scale), mean = face_frame(neutral[:, :2]), conventional(neutral[None])[0]
    depth = (neutral[36:48, 2].mean() + neutral[[48, 54], 2].mean()) / 2

    def moved(shift: np.ndarray) -> np.ndarray:
        return np.asarray((conventional((neutral + shift)[None])[0] - mean)[list(POINTS)] / scale)

    spread = np.stack([moved(mode) for mode in identity])
    _, size, ways = np.linalg.svd(spread.reshape(len(spread), -1), full_matrices=False)
    modes = (size[:IDENTITY_MODES, None] * ways[:IDENTITY_MODES]).reshape(IDENTITY_MODES, -1, 3)
    return {
        "points": np.array(POINTS, np.int64),
        "mean": ((mean[list(POINTS)] - [*centre, depth]) / scale).astype(np.float16),
        "names": np.array([f"AU{unit}" for unit in REPORTED] + [f"_AU{unit}" for unit in SILENT]),
        "units": np.stack([moved(np.tensordot(weights, shapes, 1)) for weights in chosen]).astype(np.float16),
        "identity": modes.astype(np.float16),
    }


def main(model: str, out: str) -> None:
    """Write the file; the same bytes for the same model."""
    np.savez_compressed(Path(out), **make_basis(load_face_model(model)))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
