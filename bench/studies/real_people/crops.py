"""All crops of a folder of sets as arrays, for experiments with small networks. Arrays of people: never published."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from bench.studies.real_people.samples import Sample
from dfer_edge.faces import Detector, LandmarkDetector
from dfer_edge.faces import landmarks as faces_landmarks
from dfer_edge.faces.aligned import FaceFinder, face_frame
from dfer_edge.flow import preprocess
from dfer_edge.kernels.clip_to_tensor import crop_resize
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Image, Points

READ_MARGIN = 2.45
"""Side of the crops that the shipped networks read, in face scales."""


@dataclasses.dataclass(frozen=True)
class Crops:
    """N crops of the largest face in frames of samples.

    Attributes
    ----------
    pixels
        uint8 RGB [N, size, size, 3].
    sample
        int64 [N]: position of the sample.
    frame
        int64 [N]: position of the frame in its sample.
    points
        float32 [N, 68, 2] in crop pixels, NaN where there are none.
    lost
        Positions of samples without a face.
    """

    pixels: Image
    sample: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]
    points: Points
    lost: tuple[int, ...]


def crops(
    samples: Sequence[Sample],
    detector: Detector,
    landmarks: LandmarkDetector,
    size: int = 128,
    margin: float = 2.6,
    count: int = 8,
) -> Crops:
    """Cut them.

    Parameters
    ----------
    samples
        Of which a still gives one crop, a sequence ``count`` of evenly spaced frames, the first and last included.
    detector, landmarks
        Find the faces, and lay the box as they do for networks whose face box they lay.
    size
        Side of a crop in pixels.
    margin
        Side of the square as a multiple of the scale s of :func:`dfer_edge.faces.aligned.face_frame`, around the centre
        that the networks' own crops have.
    """
    laid = FaceFinder(detector, landmarks)
    found: list[tuple[Image, int, int, Points]] = []
    for number, sample in enumerate(samples):
        for position, image in _frames(sample, count):
            faces = laid.detect(image)
            if not faces:
                continue
            box = max((face.box for face in faces), key=lambda one: one.area)
            points = faces_landmarks.find(landmarks, image, box)
            scale = float(face_frame(points.astype(np.float64))[1]) if np.isfinite(points).all() else box.height / 2.8
            region = preprocess.square(box, margin * scale / max(box.width, box.height))
            inside = preprocess.points_in_crop(points, region, size)
            found.append((crop_resize(image, region, size), number, position, inside))
    with_face = {number for _, number, _, _ in found}
    return Crops(
        np.stack([row[0] for row in found]),
        np.array([row[1] for row in found], np.int64),
        np.array([row[2] for row in found], np.int64),
        np.stack([row[3] for row in found]),
        tuple(number for number in range(len(samples)) if number not in with_face),
    )


def _frames(sample: Sample, count: int) -> Iterator[tuple[int, Image]]:
    images = [frame.image for frame in open_source(sample.path)]
    chosen = np.linspace(0, len(images) - 1, count if sample.is_sequence else 1).round().astype(int)
    return ((position, images[position]) for position in chosen.tolist())
