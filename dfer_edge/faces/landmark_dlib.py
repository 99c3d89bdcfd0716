"""dlib's 68-point shape predictor, where dlib is installed. Not run on hardware yet: tested against a stand-in only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfer_edge.errors import CorruptArtifact, EngineUnavailable
from dfer_edge.types import Box, Image, Points


class DlibLandmarks:
    """Regression trees on a box.

    Parameters
    ----------
    path
        Of ``shape_predictor_68_face_landmarks.dat`` or another predictor of 68 points.

    Raises
    ------
    EngineUnavailable, CorruptArtifact
    """

    name = "dlib68"

    def __init__(self, path: str | Path) -> None:
        try:
            import dlib
        except ImportError as error:
            hint = 'pip install "dfer-edge[landmarks-dlib]"'
            raise EngineUnavailable(f"expected dlib for the landmark file {path}, it is not installed", hint) from error
        self._dlib, self._path = dlib, path
        try:
            self._predictor = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise CorruptArtifact(f"expected a dlib shape predictor, got {path}: {error}") from error

    def detect(self, image: Image, box: Box) -> Points | None:
        """See :class:`~dfer_edge.faces.landmarks.LandmarkDetector`; trees always answer."""
        # The predictor was trained on squares from brows to chin: the lower part of our box, as high as it is wide.
        left, top, right, bottom = box.rounded()
        square = self._dlib.rectangle(left, max(top, bottom - (right - left)), right - 1, bottom - 1)
        shape = self._predictor(np.ascontiguousarray(image), square)
        if shape.num_parts != 68:
            raise CorruptArtifact(f"expected a predictor of 68 points, got {shape.num_parts} from {self._path}")
        return np.asarray([(part.x, part.y) for part in shape.parts()], np.float32)
