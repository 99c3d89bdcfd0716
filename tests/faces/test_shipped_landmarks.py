"""The landmark network that ships: it loads unasked, agrees with public networks on real faces, and knows no face."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from dfer_edge.faces import make_landmark_detector
from dfer_edge.faces.detectors import HaarDetector, YuNetDetector
from dfer_edge.faces.landmark_networks import FollowingFace68, LandmarkNetwork, RenderedFace68, load_network
from dfer_edge.faces.landmarks import FACE_SCORE, SHIPPED, find, find_scored
from dfer_edge.faces.rendered import CHECK
from dfer_edge.inference.keypoint_graph import MIRROR_POINTS
from dfer_edge.types import Box
from tests.faces.test_faces import still

BROWS, EYES, MOUTH = slice(17, 27), slice(36, 48), slice(48, 68)
PARTS = {"jaw": slice(0, 17), "brows": BROWS, "nose": slice(27, 36), "eyes": EYES, "mouth": MOUTH}


@pytest.fixture(scope="module")
def shipped() -> LandmarkNetwork:
    detector = make_landmark_detector()
    assert isinstance(detector, RenderedFace68)
    return detector


@pytest.fixture(scope="module")
def astronaut_still(astronaut_frames: list[np.ndarray]) -> tuple[np.ndarray, Box]:
    """A real face of our own repository; it needs no media."""
    image = astronaut_frames[0]
    return image, HaarDetector().detect(image)[0].box


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))


def test_the_file_is_small_and_says_where_it_comes_from(shipped: LandmarkNetwork) -> None:
    assert SHIPPED.stat().st_size <= 3_000_000
    model = onnx.load(str(SHIPPED))
    assert model.opset_import[0].version <= 17
    facts = {entry.key: entry.value for entry in model.metadata_props}
    spec = json.loads(facts["spec"])
    assert (spec["margin"], spec["down"]) == (shipped.margin, shipped.down)
    assert spec["size"] == shipped.input_shape[1]
    data = json.loads(facts["data"])
    assert data["synthetic"] is True
    assert data["images"] > 0
    assert json.loads(facts["recipe"])["crops"] > 0
    assert "face-api" in json.loads(facts["layers"])["of"], "whose weights lie below the heads"
    assert facts["licence"] == "MIT"
    assert len(facts["weights_sha256"]) == 64


def test_points_of_a_real_face(shipped: LandmarkNetwork, astronaut_still: tuple[np.ndarray, Box]) -> None:
    image, box = astronaut_still
    points = shipped.detect(image, box)
    assert (points.shape, points.dtype) == ((68, 2), np.float32)
    brows, eyes, nose, mouth = (points[part].mean(0)[1] for part in (BROWS, EYES, slice(31, 36), MOUTH))
    assert brows < eyes < nose < mouth < points[8, 1], "from top to bottom"
    assert points[0, 0] < points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0] < points[16, 0], "left is left"
    assert points[48, 0] < points[51, 0] < points[54, 0]
    assert points[62, 1] <= points[66, 1] + 1, "upper lip over lower lip"
    assert box.left < points[27:, 0].min()
    assert points[27:, 0].max() < box.right
    np.testing.assert_array_equal(find(shipped, image, box), points)


def test_a_mirrored_face_has_mirrored_points(shipped: LandmarkNetwork, astronaut_still: tuple[np.ndarray, Box]) -> None:
    image, box = astronaut_still
    width, points = image.shape[1], shipped.detect(image, box)
    mirrored = Box(width - box.right, box.top, width - box.left, box.bottom)
    back = shipped.detect(np.ascontiguousarray(image[:, ::-1]), mirrored)[list(MIRROR_POINTS)]
    back[:, 0] = width - 1 - back[:, 0]
    assert np.median(np.linalg.norm(back - points, axis=1)) < 0.06 * eye_distance(points)


def test_neither_scale_nor_exposure_nor_layout_moves_the_points(
    shipped: LandmarkNetwork, astronaut_still: tuple[np.ndarray, Box]
) -> None:
    image, box = astronaut_still
    points = shipped.detect(image, box)
    limit = 0.02 * eye_distance(points)
    twice = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    large = (shipped.detect(twice, Box(*(2 * edge for edge in box))) + 0.5) / 2 - 0.5
    assert np.linalg.norm(large - points, axis=1).max() < 2 * limit
    dim = shipped.detect((image * 0.5).astype(np.uint8), box)
    assert np.median(np.linalg.norm(dim - points, axis=1)) < limit
    turned = np.ascontiguousarray(image.transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_allclose(shipped.detect(turned, box), points, atol=1e-3)


def test_no_face_no_points(shipped: LandmarkNetwork, rng: np.random.Generator) -> None:
    box = Box(20, 20, 100, 110)
    for image in (np.zeros((120, 120, 3), np.uint8), np.full((120, 120, 3), 255, np.uint8)):
        assert shipped.detect(image, box) is None, "a blank image"
    assert shipped.detect(rng.integers(0, 256, (120, 120, 3), np.uint8), box) is None, "noise"
    assert np.isnan(find(shipped, np.zeros((64, 64, 3), np.uint8), Box(0, 0, 60, 60))).all()


def test_score_and_confidence(shipped: LandmarkNetwork, astronaut_still: tuple[np.ndarray, Box]) -> None:
    image, box = astronaut_still
    found = find_scored(shipped, image, box)
    assert found.score > 0.8
    np.testing.assert_array_equal(found.points, shipped.detect(image, box))
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert found.confidence[27:].mean() > found.confidence[:17].mean(), "jaws are harder than what lies within"
    blank = find_scored(shipped, np.zeros_like(image), box)
    assert blank.score < FACE_SCORE
    assert find_scored(shipped, image, Box(-90, 0, -10, 80)).score == 0, "outside"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 1000), (1000, 16), (4320, 7680)])
def test_frames_of_any_size(shipped: LandmarkNetwork, height: int, width: int) -> None:
    """A box larger than the frame, and one that reaches over its corner."""
    image = np.full((height, width, 3), 90, np.uint8)
    for box in (Box(-width, -height, 2 * width, 2 * height), Box(width - 5, height - 5, width + 50, height + 60)):
        found = find_scored(shipped, image, box)
        assert 0 <= found.score <= 1
        assert np.isfinite(found.points).all() or found.score == 0


@pytest.mark.parametrize("size", [1, 2, 7])
def test_tiny_images(shipped: LandmarkNetwork, size: int, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (size, size, 3), np.uint8)
    points = shipped.detect(image, Box(0, 0, size, size))
    assert points is None or np.isfinite(points).all()


def test_boxes_outside_and_broken(shipped: LandmarkNetwork, astronaut_still: tuple[np.ndarray, Box]) -> None:
    image, box = astronaut_still
    width = image.shape[1]
    for wrong in (Box(width + 5, 0, width + 50, 40), Box(20, 20, 20, 20), Box(0, 0, float("nan"), 9)):
        assert shipped.detect(image, wrong) is None
    points = shipped.detect(image, box)
    cut = round(float(points[36, 0]))  # the frame ends in the image's left eye
    moved = Box(box.left - cut, box.top, box.right - cut, box.bottom)
    part = shipped.detect(np.ascontiguousarray(image[:, cut:]), moved)
    right_eye = part[42:48].mean(0) - (points[42:48].mean(0) - (cut, 0))
    assert np.linalg.norm(right_eye) < 0.25 * eye_distance(points)


@pytest.fixture(scope="module")
def apart(media: Path, yunet: Path, shipped: LandmarkNetwork) -> dict[str, np.ndarray]:
    """Distances [54, 68] of shipped (s), face-api's (a) and OpenSeeFace's (b) points by the distance of the eyes."""
    files = (media / "onnx" / "face_landmark68_faceapi.onnx", media / "onnx" / "face_landmark66_openseeface.onnx")
    networks = {"s": shipped, "a": make_landmark_detector(files[0]), "b": make_landmark_detector(files[1])}
    detector, rows = YuNetDetector(yunet), []
    for path in sorted((media / "stills" / "validation").glob("*.jpg")):
        image = still(path)
        box = detector.detect(image)[0].box
        found = {name: network.detect(image, box) for name, network in networks.items()}
        unit = eye_distance((found["a"] + found["b"]) / 2)
        rows.append({p: np.linalg.norm(found[p[0]] - found[p[1]], axis=1) / unit for p in ("sa", "sb", "ab")})
    return {pair: np.stack([row[pair] for row in rows]) for pair in ("sa", "sb", "ab")}


def test_as_close_to_public_networks_as_they_are_to_each_other(apart: dict[str, np.ndarray]) -> None:
    """The bar; face-api's layers are in it, so the other pair is the harder one."""
    assert len(apart["ab"]) == 54
    assert np.median(apart["sa"]) <= np.median(apart["ab"])
    assert np.median(apart["sb"]) <= np.median(apart["ab"])


def test_no_part_of_the_face_is_off(apart: dict[str, np.ndarray]) -> None:
    for name, part in PARTS.items():
        nearer = min(np.median(apart["sa"][:, part]), np.median(apart["sb"][:, part]))
        assert nearer < 1.5 * max(np.median(apart["ab"][:, part]), 0.04), name


def test_the_network_before_is_read_still(astronaut_still: tuple[np.ndarray, Box], shipped: LandmarkNetwork) -> None:
    """It judges small faces for the detector."""
    image, box = astronaut_still
    before = load_network(CHECK)
    assert isinstance(before, FollowingFace68)
    apart = np.linalg.norm(before.detect(image, box) - shipped.detect(image, box), axis=1)
    assert apart.mean() < 0.1 * eye_distance(shipped.detect(image, box))
    assert before.detect(np.zeros_like(image), box) is None


def test_places_without_a_face(media: Path, shipped: LandmarkNetwork, rng: np.random.Generator) -> None:
    image = still(media / "stills" / "no_face.jpg")
    height, width = image.shape[:2]
    answers = []
    for _ in range(60):
        side = int(rng.integers(60, min(height, width)))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        answers.append(shipped.detect(image, Box(left, top, left + side, top + side)) is None)
    assert np.mean(answers) > 0.8
