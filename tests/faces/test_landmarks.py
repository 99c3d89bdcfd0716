"""Landmark networks on real faces, what they refuse, and dlib through a stand-in."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dfer_edge import CorruptArtifact, EngineUnavailable, InvalidInput, WeightsNotFound
from dfer_edge.faces import make_detector, make_landmark_detector
from dfer_edge.faces.detectors import YuNetDetector
from dfer_edge.faces.landmark_networks import OPENSEEFACE_POINTS, as_ibug, flush_subnormals, load_network
from dfer_edge.faces.landmarks import (
    FACE_SCORE,
    BatchLandmarkDetector,
    Landmarks,
    find,
    find_all,
    find_scored,
    make_laying_detector,
)
from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.types import Box
from tests.faces.test_faces import still

NAMES = ("faceapi68", "openseeface66")
FILES = {"faceapi68": "face_landmark68_faceapi.onnx", "openseeface66": "face_landmark66_openseeface.onnx"}
BROWS, EYES, MOUTH = slice(17, 27), slice(36, 48), slice(48, 68)


@pytest.fixture(scope="module")
def networks(media: Path) -> dict:
    return {name: make_landmark_detector(media / "onnx" / FILES[name]) for name in NAMES}


@pytest.fixture(scope="module")
def portraits(media: Path, yunet: Path) -> list[tuple[np.ndarray, Box]]:
    paths = [*sorted((media / "stills" / "validation").glob("*.jpg")), media / "stills" / "astronaut.png"]
    images, detector = [still(path) for path in paths], YuNetDetector(yunet)
    return [(image, detector.detect(image)[0].box) for image in images]


@pytest.fixture(scope="module")
def found(networks: dict, portraits: list) -> dict[str, np.ndarray]:
    """Network -> points [55, 68, 2]."""
    return {name: np.stack([networks[name].detect(*portrait) for portrait in portraits]) for name in NAMES}


def eye_distance(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[..., 36:42, :].mean(-2) - points[..., 42:48, :].mean(-2), axis=-1)


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of each point as a share of the distance between the eyes."""
    return np.linalg.norm(a - b, axis=-1) / eye_distance(a)[..., None]


@pytest.mark.parametrize("name", NAMES)
def test_points_are_a_face_in_its_box(found: dict, portraits: list, name: str) -> None:
    assert len(portraits) == 55
    for points, (_, box) in zip(found[name], portraits, strict=True):
        assert points.dtype == np.float32
        middle = points[17:]  # the jaw may leave the box at a turned head's ear
        assert (middle > (box.left - 0.1 * box.width, box.top)).all()
        assert (middle < (box.right + 0.1 * box.width, box.bottom)).all()
        brows, eyes, nose, mouth = (points[part].mean(0) for part in (BROWS, EYES, slice(31, 36), MOUTH))
        assert brows[1] < eyes[1] < nose[1] < mouth[1]
        assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0], "the image's left eye first"
        assert points[48, 0] < points[51, 0] < points[54, 0]
        assert points[17, 0] < points[21, 0] < points[22, 0] < points[26, 0]


def test_the_networks_agree(found: dict) -> None:
    error = apart(found["openseeface66"], found["faceapi68"])
    assert np.median(error.mean(1)) < 0.08
    assert np.percentile(error.mean(1), 90) < 0.15
    assert np.median(error[:, 27:48], 0).max() < 0.08, "nose and eyes"
    assert np.median(error, 0).max() < 0.14, "no point of another number"


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_face_has_mirrored_points(networks: dict, found: dict, portraits: list, name: str) -> None:
    """Independent of the other network: a shift of half a crop pixel is 0.02 here, a wrong number 0.1 and more."""
    errors = []
    for points, (image, box) in zip(found[name], portraits, strict=True):
        width = image.shape[1]
        mirrored = Box(width - box.right, box.top, width - box.left, box.bottom)
        back = networks[name].detect(np.ascontiguousarray(image[:, ::-1]), mirrored)[list(MIRROR_POINTS)]
        back[:, 0] = width - 1 - back[:, 0]
        errors.append((points - back) / eye_distance(points))
    bias = np.abs(np.median(errors, (0, 1)))
    assert bias.max() < 0.02
    assert np.median(np.linalg.norm(errors, axis=2)) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_points_follow_the_image(networks: dict, found: dict, portraits: list, name: str) -> None:
    for points, (image, box) in list(zip(found[name], portraits, strict=True))[::9]:
        around = cv2.copyMakeBorder(image, 37, 0, 58, 0, cv2.BORDER_REPLICATE)
        # Half a pixel: a border changes which way a half is rounded.
        moved = networks[name].detect(around, Box(box.left + 58, box.top + 37, box.right + 58, box.bottom + 37))
        np.testing.assert_allclose(moved - points, np.broadcast_to((58, 37), (68, 2)), atol=0.02 * eye_distance(points))
        twice = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        large = networks[name].detect(twice, Box(*(2 * edge for edge in box)))
        assert np.median(apart((large + 0.5) / 2 - 0.5, points)) < 0.015


@pytest.mark.parametrize("name", NAMES)
def test_points_follow_a_moved_box(networks: dict, found: dict, portraits: list, name: str) -> None:
    """The crop moves with the box, the points must not: fails for a wrong scale of the heat maps' cells."""
    shifts = []
    for points, (image, box) in zip(found[name], portraits, strict=True):
        step = round(0.06 * box.width)
        right = networks[name].detect(image, Box(box.left + step, box.top, box.right + step, box.bottom))
        shifts.append(np.median((right - points)[:, 0]) / step)
    limit = {"faceapi68": 0.1, "openseeface66": 0.02}[name]
    assert abs(np.median(shifts)) < limit


def test_66_points_get_their_ibug_numbers(found: dict) -> None:
    numbered = as_ibug(np.repeat(np.asarray(OPENSEEFACE_POINTS, np.float32)[:, None], 2, 1))
    expected = np.arange(68, dtype=np.float32)
    expected[[60, 64]] = 48 + 0.04 * 6, 54 - 0.04 * 6
    np.testing.assert_allclose(numbered[:, 0], expected, atol=1e-4)
    assert sorted({*range(68)} - {*OPENSEEFACE_POINTS}) == [60, 64]
    a, b = found["openseeface66"], found["faceapi68"]
    error = np.median(apart(a, b), 0)
    assert error[[48, 54]].max() < 0.06, "the corners of the 66 are the outer ones"
    assert error[[60, 64]].max() < 0.08
    for points in (a, b):
        mouth = np.linalg.norm(points[:, 54] - points[:, 48], axis=1)
        assert np.median(np.linalg.norm(points[:, 60] - points[:, 48], axis=1) / mouth) == pytest.approx(
            0.04, abs=0.015
        )


def test_places_without_a_face(networks: dict, media: Path, rng: np.random.Generator) -> None:
    image = still(media / "stills" / "no_face.jpg")
    height, width = image.shape[:2]
    for _ in range(20):
        side = int(rng.integers(60, min(height, width)))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        box = Box(left, top, left + side, top + side)
        assert networks["openseeface66"].detect(image, box) is None
        assert networks["faceapi68"].detect(image, box).shape == (68, 2), "a regression always answers"
    for box in (Box(width + 5, 0, width + 50, 40), Box(20, 20, 20, 20), Box(0, 0, float("nan"), 9)):
        assert networks["faceapi68"].detect(image, box) is None
    assert np.isnan(find(networks["openseeface66"], image, Box(0, 0, 60, 60))).all()


def network(shape: tuple[int, ...], output: tuple[int, ...], weight: float = 0.0, gain: float = 1.0) -> onnx.ModelProto:
    """gain * (weight * mean of each channel, summed), as often as the output has numbers."""
    count = int(np.prod(output))
    weights = np.full((shape[0], count), weight, np.float32)
    tensors = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.float32(gain), "gain"),
        numpy_helper.from_array(np.asarray((-1, *output), np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Mul", ["product", "gain"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *output])
    graph = helper.make_graph(nodes, "network", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_subnormal_weights_are_zero_before_the_session_is_made(tmp_path: Path) -> None:
    """1e-39 is subnormal, 2e-38 is not; a gain that brings either back to sight tells whether it was there."""
    white, box = np.full((64, 64, 3), 200, np.uint8), Box(10, 10, 50, 50)
    centre = []
    for weight in (1e-39, 2e-38):
        model = network((3, 112, 112), (136,), weight, 0.5 / (600 * weight))
        onnx.save(model, str(tmp_path / "tiny.onnx"))
        centre.append(load_network(tmp_path / "tiny.onnx").detect(white, box)[0])
        assert flush_subnormals(model) == (3 * 136 if weight < 1e-38 else 0)
        assert not np.any(np.abs(numpy_helper.to_array(model.graph.initializer[0])) == np.float32(1e-39))
    # Side 40 and 0.07 * 40 down: the crop is 10..50 by 13..53. Flushed: its corner.
    np.testing.assert_allclose(centre[0], (9.5 + 0.5 * 40 / 112, 12.5 + 0.5 * 40 / 112), atol=1e-3)
    np.testing.assert_allclose(centre[1], (29.5 + 0.5 * 40 / 112, 32.5 + 0.5 * 40 / 112), atol=1e-3)


@pytest.mark.parametrize(("first", "name"), [("Conv", "pfld68"), ("Sub", "faceapi68")])
def test_pixels_have_the_scale_that_the_file_reads(tmp_path: Path, first: str, name: str) -> None:
    """Two public networks of one shape; PFLD's reads 0..1, and face-api's brings 0..255 to its scale itself."""
    value = {"Conv": np.ones((3, 3, 1, 1), np.float32) / 3, "Sub": np.zeros((1, 3, 1, 1), np.float32)}[first]
    model = network((3, 112, 112), (136,), weight=1 / 3)
    model.graph.initializer.append(numpy_helper.from_array(value, "first"))
    model.graph.node.insert(0, helper.make_node("Identity", ["x"], ["same"]))
    model.graph.node.insert(1, helper.make_node(first, ["same", "first"], ["scaled_pixels"]))
    model.graph.node[2].input[0] = "scaled_pixels"
    onnx.save(model, str(tmp_path / "points.onnx"))
    found = load_network(tmp_path / "points.onnx")
    assert found.name == name
    # The mean of a white crop is 1 where pixels are 0..1: the crop's far corner.
    points = found.detect(np.full((50, 50, 3), 255, np.uint8), Box(10, 10, 30, 30))
    expected = {"pfld68": 20 - 11 + 22, "faceapi68": 20 - 10 + 255 * 20}[name]
    np.testing.assert_allclose(points[:, 0], expected, atol=0.6)


def test_files_that_are_no_landmark_network(tmp_path: Path, yunet: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rendered68 .*faceapi68 Nx3x112x112 -> Nx136; .* got .* in .*yunet"):
        make_landmark_detector(yunet)
    onnx.save(network((3, 112, 112), (68, 2)), str(tmp_path / "other.onnx"))
    with pytest.raises(InvalidInput, match=r"got Nx3x112x112 -> Nx68x2 in .*other\.onnx"):
        make_landmark_detector(tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_bytes(b"not a network")
    with pytest.raises(CorruptArtifact, match=r"text\.onnx"):
        make_landmark_detector(str(tmp_path / "text.onnx"))
    broken = network((3, 112, 112), (136,))
    broken.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(broken, str(tmp_path / "broken.onnx"))
    with pytest.raises(CorruptArtifact, match=r"expected a landmark network that loads, got .*broken\.onnx"):
        make_landmark_detector(tmp_path / "broken.onnx")


def test_choices(media: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, networks: dict) -> None:
    assert make_landmark_detector().name == "rendered68"
    assert make_laying_detector().name == "following68", "the shipped one lays other crops than the weights know"
    assert make_landmark_detector(None) is make_laying_detector(None) is None

    class Nameless:
        def detect(self, image: np.ndarray, box: Box) -> None:
            return None

    assert make_landmark_detector(Nameless()).name == "Nameless"
    assert make_landmark_detector(networks["faceapi68"]) is networks["faceapi68"]
    for name in NAMES:
        monkeypatch.setenv("DFER_EDGE_LANDMARKS", str(media / "onnx" / FILES[name]))
        assert make_landmark_detector().name == make_laying_detector().name == name
    monkeypatch.setenv("DFER_EDGE_LANDMARKS", str(tmp_path / "none.onnx"))
    with pytest.raises(WeightsNotFound, match=r"none\.onnx.*DFER_EDGE_LANDMARKS"):
        make_landmark_detector()
    for wrong in ("dlib", tmp_path / "points.pts", 5):
        with pytest.raises(InvalidInput, match="expected landmark_detector"):
            make_landmark_detector(wrong)


class Answers:
    name = "answers"

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def detect(self, image: np.ndarray, box: Box) -> object:
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [np.zeros((66, 2), np.float32), np.zeros((68, 2), int), np.full((68, 2), np.nan), np.zeros((68, 3)), "points"],
)
def test_wrong_answers_of_a_detector_of_the_users(answer: object) -> None:
    with pytest.raises(InvalidInput, match=r"expected 68 finite points \[68, 2\] from answers"):
        find(Answers(answer), np.zeros((20, 20, 3), np.uint8), Box(0, 0, 20, 20))


@pytest.mark.parametrize(
    ("points", "score", "confidence"),
    [
        (np.full((68, 2), np.nan), 0.9, np.ones(68)),
        (np.ones((68, 2)), 1.2, np.ones(68)),
        (np.ones((68, 2)), float("nan"), np.ones(68)),
        (np.ones((68, 2)), 0.9, np.ones(66)),
    ],
)
def test_wrong_scored_answers(points: np.ndarray, score: float, confidence: np.ndarray) -> None:
    class Scored(Answers):
        def detect_scored(self, image: np.ndarray, box: Box) -> Landmarks:
            return Landmarks(points, score, confidence)

    with pytest.raises(InvalidInput, match=r"expected .* from answers"):
        find_scored(Scored(None), np.zeros((20, 20, 3), np.uint8), Box(0, 0, 20, 20))


def test_every_detector_has_a_score(networks: dict, portraits: list) -> None:
    image, box = portraits[-1]
    for network in networks.values():
        found = find_scored(network, image, box)
        assert found.score >= FACE_SCORE
        np.testing.assert_array_equal(found.points, network.detect(image, box))
        assert found.confidence.shape == (68,)
    points = networks["faceapi68"].detect(image, box)
    away = Box(box.left + box.width, box.top, box.right + box.width, box.bottom)
    assert find_scored(Answers(points), image, box).score == 1
    assert find_scored(Answers(points), image, away).score == 0, "points of another face"
    nothing = find_scored(Answers(None), image, box)
    assert np.isnan(nothing.points).all()
    assert nothing.score == 0
    assert not nothing.confidence.any()


class Rectangle:
    """dlib's: integers only, right and bottom inclusive."""

    def __init__(self, left: int, top: int, right: int, bottom: int) -> None:
        assert all(type(edge) is int for edge in (left, top, right, bottom))
        self.edges = (left, top, right, bottom)


class Predictor:
    """dlib's: 68 integer points along the diagonal of a rectangle; refuses what the real one refuses."""

    def __init__(self, path: str) -> None:
        assert type(path) is str
        if not Path(path).read_bytes().startswith(b"predictor"):
            raise RuntimeError("Unexpected version found while deserializing")
        self._count = int(Path(path).read_bytes()[9:])

    def __call__(self, image: np.ndarray, box: Rectangle) -> types.SimpleNamespace:
        assert isinstance(box, Rectangle)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        left, top, right, bottom = box.edges
        across, down = np.linspace(left, right, self._count), np.linspace(top, bottom, self._count)
        parts = [types.SimpleNamespace(x=round(x), y=round(y)) for x, y in zip(across, down, strict=True)]
        return types.SimpleNamespace(num_parts=len(parts), parts=lambda: parts)


def test_dlib_points_through_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, image = tmp_path / "points.dat", np.zeros((90, 90, 3), np.uint8)
    path.write_bytes(b"predictor68")
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(EngineUnavailable, match="landmarks-dlib"):
        make_landmark_detector(path)
    fake = types.SimpleNamespace(shape_predictor=Predictor, rectangle=Rectangle)
    monkeypatch.setitem(sys.modules, "dlib", fake)
    detector = make_landmark_detector(path)
    points = detector.detect(image[:, ::-1], Box(10.2, 9.8, 50.1, 70.3))
    assert detector.name == "dlib68"
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[[0, -1]], [(10, 30), (49, 69)])
    path.write_bytes(b"predictor5")
    with pytest.raises(CorruptArtifact, match="68 points, got 5"):
        make_landmark_detector(path).detect(image, Box(10, 10, 50, 70))
    path.write_bytes(b"text")
    with pytest.raises(CorruptArtifact, match=r"points\.dat"):
        make_landmark_detector(path)


def test_faces_of_a_frame_in_one_call_are_what_they_are_one_by_one(astronaut_frames: list[np.ndarray]) -> None:
    detector, image = make_landmark_detector("auto", 1), astronaut_frames[0]
    assert isinstance(detector, BatchLandmarkDetector)
    (face, *_) = make_detector("auto").detect(image)
    left, top, right, bottom = face.box
    looks = [
        (image, face.box),
        (image, Box(-500.0, -500.0, -400.0, -400.0)),
        (image[:, ::-1], Box(image.shape[1] - right, top, image.shape[1] - left, bottom)),
        (image, Box(float("nan"), 0.0, 1.0, 1.0)),
        (image, Box(left + 4, top - 3, right + 4, bottom - 3)),
    ]
    together = find_all(detector, looks)
    for (picture, box), points in zip(looks, together, strict=True):
        np.testing.assert_allclose(points, find(detector, picture, box), atol=1e-3)
    assert [bool(np.isnan(points).any()) for points in together] == [False, True, False, True, False]
