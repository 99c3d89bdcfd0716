"""What landmark networks give: the points of a face, and how far they may be trusted."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from dfer_edge.types import Points

# A score from here on says that there is a face; ``detect`` of the shipped network goes by it too.
FACE_SCORE = 0.5


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Points of a face, and how far they may be trusted.

    Attributes
    ----------
    points
        float32 [68, 2], pixels of the image, as ``detect`` gives them; all NaN for none at all.
    score
        Probability that there is a face where the box said, 0 to 1; a face from :data:`FACE_SCORE` on.
    confidence
        float32 [68], 0 to 1: of the shipped network the probability that a point lies within a tenth of the distance
        between the outer corners of the eyes from the truth; of other detectors their own measure, or the score.
    """

    points: Points
    score: float
    confidence: npt.NDArray[np.float32]
