"""Landmark networks on ONNX Runtime: the shipped one, face-api's and PFLD's 68 points and OpenSeeFace's 66.

Crops and decoding of the two public ones were measured on 55 portraits with YuNet boxes (54 generated, 1 photograph)
and on frames of four videos, errors as a share of the distance between the eyes. These networks check each other: their
points lie 0.07 apart in the mean, eyes and nose half of that, jaw and brows more.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.faces import regions
from dfer_edge.faces.landmark_points import FACE_SCORE, Landmarks
from dfer_edge.kernels.clip_to_tensor import crop_resize
from dfer_edge.system import cpu
from dfer_edge.system.call_lock import CallLock
from dfer_edge.system.onnx_session import cpu_session
from dfer_edge.types import Box, Image, Points

FloatArray = npt.NDArray[np.float32]
Shape = tuple[int | str, ...]


class LandmarkNetwork(abc.ABC):
    """One network: a square crop around the face box in, points out.

    Parameters
    ----------
    session
        ONNX Runtime session of a file with ``input_shape`` and ``output_shapes``.

    Attributes
    ----------
    input_shape, output_shapes
        Without the batch axis.
    margin, down
        Side of the crop and how far it is moved down, as multiples of the longer side of the face box.
    """

    name: str
    fingerprint: str = ""
    input_shape: ClassVar[Shape]
    output_shapes: ClassVar[tuple[Shape, ...]]
    margin: ClassVar[float]
    down: ClassVar[float]

    def __init__(self, session: Any) -> None:
        self._session, self._calls = session, CallLock()
        self._input = session.get_inputs()[0].name

    def detect(self, image: Image, box: Box) -> Points | None:
        """See :class:`~dfer_edge.faces.landmarks.LandmarkDetector`."""
        found = self.detect_scored(image, box)
        return found.points if found is not None and found.score >= FACE_SCORE else None

    def detect_scored(self, image: Image, box: Box) -> Landmarks | None:
        """See :class:`~dfer_edge.faces.landmarks.ScoredLandmarkDetector`."""
        return self._found([(image, box)])[0]

    def detect_batch(self, looks: Sequence[tuple[Image, Box]]) -> list[Points | None]:
        """:meth:`detect` of boxes in images of their own, in one call of the network."""
        found = self._found(looks)
        return [one.points if one is not None and one.score >= FACE_SCORE else None for one in found]

    def _found(self, looks: Sequence[tuple[Image, Box]]) -> list[Landmarks | None]:
        size = int(self.input_shape[-1])
        regions_of = [self._region(image, box) for image, box in looks]
        asked = [(image, region) for (image, _), region in zip(looks, regions_of, strict=True) if region is not None]
        if not asked:
            return [None] * len(looks)
        pixels = np.stack([self._prepared(crop_resize(*look, size)).transpose(2, 0, 1) for look in asked])
        with self._calls:
            outputs = self._session.run(None, {self._input: pixels})
        rows = iter(zip(*outputs, strict=True))
        return [None if region is None else self._placed(next(rows), region) for region in regions_of]

    def _region(self, image: Image, box: Box) -> Box | None:
        """What the network reads for a box; None where there is nothing to see."""
        height, width = image.shape[:2]
        if not np.isfinite(box).all() or not box.iou(Box(0, 0, width, height)):
            return None
        shift = self.down * max(box.width, box.height)
        return regions.square(Box(box.left, box.top + shift, box.right, box.bottom + shift), self.margin)

    def _placed(self, outputs: Sequence[FloatArray], region: Box) -> Landmarks | None:
        points, score, confidence = self._decoded(*outputs)
        if not (np.isfinite(points).all() and np.isfinite(score)):
            return None
        return Landmarks(regions.points_in_frame(points, region, int(self.input_shape[-1])), float(score), confidence)

    def _prepared(self, crop: Image) -> FloatArray:
        """Input [S, S, 3] of an RGB crop [S, S, 3]; as it is unless a network says otherwise."""
        return crop.astype(np.float32)

    @abc.abstractmethod
    def _decoded(self, *outputs: FloatArray) -> tuple[Points, float, FloatArray]:
        """Points [68, 2] in crop pixels, score and confidence [68] of the outputs [...]."""


class RenderedFace68(LandmarkNetwork):
    """The shipped network: face-api's layers, heads fitted on renders (docs in ``dfer_edge/assets/landmarks68.md``).

    1x112x112 grey 0-255, normalised inside the network -> points x, y in 0..1 of the crop's edges, the spread of each
    point's distance from the truth (as a share of the crop's side), and the probability of a face.
    """

    name = "rendered68"
    input_shape = (1, 112, 112)
    output_shapes = ((68, 2), (68,), ())
    margin, down = 1.0, 0.1

    def _prepared(self, crop: Image) -> FloatArray:
        return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)

    def _decoded(self, *outputs: FloatArray) -> tuple[Points, float, FloatArray]:
        points, spread, face = outputs
        # The distance from the truth follows a Laplace distribution in the plane: the share of it within the limit.
        limit = np.linalg.norm(points[45] - points[36]) * np.float32(0.1) / np.maximum(spread, np.float32(1e-6))
        confidence = 1 - (1 + limit) * np.exp(-limit)
        side = np.float32(self.input_shape[-1])
        return points * side - np.float32(0.5), float(face), confidence.astype(np.float32)


class FollowingFace68(RenderedFace68):
    """The network that follows faces and lays crops, all of it trained on renders: 1x96x96, else the same.

    Further from the truth on photographs, and the better judge of small and tilted faces: the detector asks it about
    those in doubt, and the default weights were trained on crops that it laid (``dfer_edge/assets/face_check.md``).
    """

    name = "following68"
    input_shape = (1, 96, 96)
    margin, down = 0.85, 0.01


class FaceApi68(LandmarkNetwork):
    """face-api's 68-point regression (MIT): 3x112x112 RGB 0-255, normalised inside the network -> x, y in 0..1.

    A regression always answers: its score is 1, and it says None only for a box outside the image. Best crop, by
    distance to the other network over margins 0.8 to 1.3 and shifts -0.05 to 0.1: side 1.0 and 0.07 down (0.069; 0.084
    without the shift, 0.12 a tenth smaller and higher); square is better than stretched. Outputs times 112 are pixel
    indices: as edges of pixels, half a pixel less, points of mirrored images disagree by twice as much.
    """

    name = "faceapi68"
    input_shape = (3, 112, 112)
    output_shapes = ((136,),)
    margin, down = 1.0, 0.07

    def _decoded(self, *outputs: FloatArray) -> tuple[Points, float, FloatArray]:
        return outputs[0].reshape(68, 2) * np.float32(112), 1.0, np.ones(68, np.float32)


class Pfld68(FaceApi68):
    """PFLD's 68 points as paper 001 takes them (cunjian/pytorch_face_landmark): 3x112x112 RGB 0-1 -> x, y in 0..1.

    The file has the shapes of face-api's; it is told by its first layer, a convolution of raw pixels. The crop is the
    source's, a square of 1.1 times the longer side of a box. The published file was not here.
    """

    name = "pfld68"
    margin, down = 1.1, 0.0

    def _prepared(self, crop: Image) -> FloatArray:
        prepared: FloatArray = crop.astype(np.float32) / np.float32(255)
        return prepared


# iBUG number of each of OpenSeeFace's points. 58 and 62 are the only mouth corners: they lie on iBUG's outer corners
# 48 and 54 (0.05 from face-api's, against 0.07 from the inner 60 and 64). The inner corners 60 and 64 are missing.
OPENSEEFACE_POINTS = (*range(48), *range(49, 54), *range(55, 60), 48, 61, 62, 63, 54, 65, 66, 67)
# Inner mouth corners lie this share of the mouth's width inside the outer ones (median of face-api's).
_LIP = 0.04


class OpenSeeFace66(LandmarkNetwork):
    """OpenSeeFace's 66-point heat maps (BSD-2): 3x224x224, ImageNet mean and std -> 198 maps of 28x28.

    Maps 0-65 are confidences, 66-131 offsets down, 132-197 offsets right, both as probability p of the offset
    log(p / (1 - p)) / 16 in units of the crop. The point is the best cell plus its offset. Cells are 223/27 pixels
    apart: with 224/28 mirrored images disagree by 0.12 instead of 0.01, and points move when the crop does.

    Best crop, by confidence over margins 1.0 to 1.45 and shifts -0.04 to 0.04, square or stretched: square, 1.2.
    """

    name = "openseeface66"
    input_shape = (3, 224, 224)
    output_shapes = ((198, 28, 28),)
    margin, down = 1.2, 0.0

    # Mean confidence: faces of at least 40 pixels scored 0.64 to 0.87, places without a face at most 0.59. Its power
    # is a score whose FACE_SCORE is 0.6.
    _POWER = float(np.log(FACE_SCORE) / np.log(0.6))
    _CELL, _OFFSET = 223 / 27, 223 / 16
    _MEAN = np.asarray((0.485, 0.456, 0.406), np.float32)
    _STD = np.asarray((0.229, 0.224, 0.225), np.float32)

    def _prepared(self, crop: Image) -> FloatArray:
        prepared: FloatArray = (crop.astype(np.float32) / np.float32(255) - self._MEAN) / self._STD
        return prepared

    def _decoded(self, *outputs: FloatArray) -> tuple[Points, float, FloatArray]:
        maps = outputs[0].reshape(3, 66, -1)
        cell, point = maps[0].argmax(1), np.arange(66)
        sure = np.clip(maps[0, point, cell], 0, 1)
        odds = np.clip(maps[1:, point, cell], 1e-6, 1 - 1e-6)
        down, right = np.log(odds / (1 - odds)) * self._OFFSET
        found = np.stack([cell % 28 * self._CELL + right, cell // 28 * self._CELL + down], 1)
        confidence = as_ibug(np.repeat(sure[:, None], 2, 1))[:, 0]
        return as_ibug(found.astype(np.float32)), float(sure.mean()) ** self._POWER, confidence


def as_ibug(points: Points) -> Points:
    """OpenSeeFace's points [66, 2] in iBUG's numbers [68, 2], the inner mouth corners from the outer ones."""
    filled = np.empty((68, 2), np.float32)
    filled[list(OPENSEEFACE_POINTS)] = points
    across = (filled[54] - filled[48]) * np.float32(_LIP)
    filled[60], filled[64] = filled[48] + across, filled[54] - across
    return filled


NETWORKS: tuple[type[LandmarkNetwork], ...] = (RenderedFace68, FollowingFace68, FaceApi68, OpenSeeFace66)


def load_network(path: str | Path, threads: int | None = None) -> LandmarkNetwork:
    """The network in a file, told by its input and output shape.

    Parameters
    ----------
    path
        An ONNX file; tensors stored as subnormal numbers are read as zero.
    threads
        CPU threads; at most two if None: these networks take milliseconds.

    Raises
    ------
    CorruptArtifact
        If the file is no ONNX file or does not load.
    InvalidInput
        If it is another network; the message names the shapes.
    """
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # a parser's error has no public base class
        raise CorruptArtifact(f"expected an ONNX file of a landmark network, got {path}") from error
    kind = _recognised(model.graph, path)
    flush_subnormals(model)
    count = threads or min(2, cpu.available_cores())
    network = kind(cpu_session(model.SerializeToString(), path, count, "a landmark network"))
    network.fingerprint = f"{kind.name} {file_sha256(Path(path))}"
    return network


def _recognised(graph: Any, path: str | Path) -> type[LandmarkNetwork]:
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [_shape(value) for value in graph.input if value.name not in stored]
    outputs = [_shape(value) for value in graph.output]
    for network in NETWORKS:
        if inputs == [network.input_shape] and outputs == list(network.output_shapes):
            return Pfld68 if network is FaceApi68 and _convolves_pixels(graph) else network
    known = "; ".join(f"{n.name} {_text([n.input_shape])} -> {_text(list(n.output_shapes))}" for n in NETWORKS)
    raise InvalidInput(
        f"expected a landmark network of shape {known}; got {_text(inputs)} -> {_text(outputs)} in {path}"
    )


def _convolves_pixels(graph: Any) -> bool:
    """Whether the first layer that computes is a convolution: nothing inside the file brings pixels to its scale."""
    read = {value.name for value in graph.input}
    for node in graph.node:
        if read & set(node.input):
            if node.op_type not in ("Identity", "Cast", "Transpose"):
                return bool(node.op_type == "Conv")
            read |= set(node.output)
    return False


def _shape(value: Any) -> Shape:
    """Dimensions without the batch axis; names of open ones."""
    return tuple(axis.dim_value or axis.dim_param or "?" for axis in value.type.tensor_type.shape.dim)[1:]


def _text(shapes: list[Shape]) -> str:
    return ", ".join("x".join(map(str, ("N", *shape))) for shape in shapes) or "nothing"


def flush_subnormals(model: Any) -> int:
    """Set subnormal float32 weights of an ONNX model to zero in place; return how many there were.

    They are smaller than 1.2e-38, mean nothing, and take a slow path in some processors: a public 68-point
    network ran 16 times slower because of them.
    """
    from onnx import numpy_helper

    constants = [
        a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.HasField("t")
    ]
    count = 0
    for tensor in (*model.graph.initializer, *constants):
        weights = numpy_helper.to_array(tensor)
        if weights.dtype != np.float32:
            continue
        tiny = (np.abs(weights) < np.finfo(np.float32).tiny) & (weights != 0)
        if tiny.any():
            tensor.CopyFrom(numpy_helper.from_array(np.where(tiny, np.float32(0), weights), tensor.name))
            count += int(tiny.sum())
    return count
