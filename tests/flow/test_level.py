"""Levelled crops: where pixels and points go, and that a spec which does not ask for them reads as before."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from dfer_edge import CorruptArtifact
from dfer_edge.faces import FaceFinder, FaceFollower
from dfer_edge.faces.geometry import box_of, roll
from dfer_edge.flow import preprocess
from dfer_edge.flow.preprocess import Region
from dfer_edge.inference import registry
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Image, Points
from tests.faces.world import World, face_at, points_of

PLAIN = dataclasses.replace(registry.find("slowr50_sa").spec, size=64, face_box="landmarks")
LEVEL = dataclasses.replace(PLAIN, level=True)


def turned(points: Points, degrees: float, about: tuple[float, float]) -> Points:
    along, across = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    away = points.astype(np.float64) - about
    return (away @ np.asarray([[along, across], [-across, along]]) + about).astype(np.float32)


def blob(x: float, y: float, sd: float = 2.0, side: int = 200) -> Image:
    """A bright spot, its middle at (x, y) in pixel centres."""
    rows, columns = np.mgrid[:side, :side]
    spot = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sd**2))
    return np.repeat(spot[..., None], 3, -1).round().astype(np.uint8)


def middle(image: Image) -> np.ndarray:
    weights = image[..., 0].astype(np.float64)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.asarray([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("side", [40.0, 64.0, 171.3])
@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
def test_a_spot_lies_where_its_point_is_mapped(degrees: float, side: float) -> None:
    region, spot = Region(101.25, 96.5, side, math.radians(degrees)), (107.3, 91.1)
    crop = preprocess.cut(blob(*spot), region, 64)
    (expected,) = preprocess.points_in_crop(np.asarray([spot], np.float32), region, 64)
    np.testing.assert_allclose(middle(crop), expected, atol=0.06)
    (back,) = preprocess.points_in_frame(expected[None], region, 64)
    np.testing.assert_allclose(back, spot, atol=1e-3)


def test_an_unturned_whole_region_is_the_box() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    for side, size in ((32, 32), (64, 32), (32, 64)):
        box = Box(20, 10, 20 + side, 10 + side)
        ours = preprocess.cut(image, Region(*box.centre, side, 0.0), size).astype(int)
        # Enlarged, the outermost pixels of a box repeat; those of a region go on in the frame.
        inner = slice(1, -1) if size > side else slice(None)
        assert np.abs(ours - preprocess.cut(image, box, size))[inner, inner].max() <= 1


def test_shrinking_averages() -> None:
    """A board of single black and white pixels, shrunk five times, is grey whichever way it is turned."""
    board = np.repeat((np.indices((300, 300)).sum(0) % 2 * 255)[..., None], 3, -1).astype(np.uint8)
    for degrees in (0, 17, 45):
        crop = preprocess.cut(board, Region(150, 150, 160, math.radians(degrees)), 32)
        assert abs(crop.astype(int) - 127).max() <= 30


@pytest.mark.parametrize("face_box", ["landmarks", "detector"])
def test_a_face_that_is_turned_gives_the_crop_of_the_level_one(face_box: str) -> None:
    spec = dataclasses.replace(LEVEL, face_box=face_box)
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 256, (30, 30, 3), np.uint8), (300, 300), interpolation=cv2.INTER_CUBIC)
    box = face_at(150, 150, 80)
    level = preprocess.face_crop(image, box, spec, points_of(box))
    for degrees in (25, -50):
        matrix = cv2.getRotationMatrix2D((149.5, 149.5), -degrees, 1)
        rolled = cv2.warpAffine(image, matrix, (300, 300))
        points = turned(points_of(box), degrees, (149.5, 149.5))
        assert math.degrees(roll(points)) == pytest.approx(degrees, abs=0.01)
        own = box_of(points) if face_box == "landmarks" else box
        crop = preprocess.face_crop(rolled, own, spec, points)
        assert np.abs(crop.astype(int) - level).mean() < 2
        upright = preprocess.face_crop(rolled, own, dataclasses.replace(spec, level=False), points)
        assert np.abs(upright.astype(int) - level).mean() > 10, "the comparison can fail"


def test_without_points_a_face_counts_as_level() -> None:
    box = face_at(150, 150, 80)
    for points in (None, np.full((68, 2), np.nan, np.float32)):
        assert preprocess.region(box, LEVEL, points=points) == Region(150, 150, box.height * LEVEL.face_margin, 0)


def test_a_spec_that_does_not_ask_reads_and_hashes_as_before() -> None:
    assert "level" not in PLAIN.to_json()
    for spec in (PLAIN, LEVEL):
        assert ModelSpec.from_json(spec.to_json()) == spec
    with pytest.raises(CorruptArtifact, match="level is neither true nor false"):
        ModelSpec.from_json(LEVEL.to_json().replace('"level": true', '"level": 1'))


def test_a_rolled_face_is_looked_at_levelled_and_mapped_back() -> None:
    """The landmark network sees faces within 20 degrees of upright alone; the follower levels what it shows it."""

    class Upright:
        name = "upright"

        def __init__(self) -> None:
            self.shown: list[float] = []

        def detect(self, image: Image, box: Box) -> Points | None:
            eye = [middle(np.where(image[..., c : c + 1] > 200, image, 0)[..., c : c + 1]) for c in (0, 1)]
            across = eye[1] - eye[0]
            self.shown.append(abs(math.degrees(math.atan2(across[1], across[0]))))
            s = float(np.hypot(*across))
            points = np.full((68, 2), (eye[0] + eye[1]) / 2, np.float32)
            points[36:42], points[42:48] = eye
            points[[48, 54]] = (eye[0] + eye[1]) / 2 + np.asarray([-across[1], across[0]]) * (s / s)
            return points

    image = np.zeros((240, 240, 3), np.uint8)
    angle = math.radians(35)
    for channel, sign in ((0, -1), (1, 1)):
        x, y = 120 + sign * 20 * math.cos(angle), 100 + sign * 20 * math.sin(angle)
        image[..., channel] = blob(x, y, 3, 240)[..., 0]
    network = Upright()
    finder = FaceFinder(World(lambda _: {}), network)
    (points,) = finder.look(image, [Box(70, 60, 170, 180)])
    assert points is not None
    assert network.shown[0] == pytest.approx(35, abs=2)
    assert network.shown[1] == pytest.approx(0, abs=2), "a second look, levelled"
    assert math.degrees(roll(points)) == pytest.approx(35, abs=1)
    finder.look(image, [box_of(points)], [roll(points)])
    assert len(network.shown) == 3
    assert network.shown[2] == pytest.approx(0, abs=2), "known to be rolled: one look"
    assert isinstance(FaceFollower(finder), FaceFollower)


def test_training_levels_as_inference_does() -> None:
    """The middle of what a recipe draws, on a rolled face, holds what the crop of inference holds."""
    from dfer_edge.training.geometry import Region as Drawn
    from dfer_edge.training.geometry import levelled

    points = turned(points_of(face_at(150, 150, 80)), 30, (149.5, 149.5))
    (x, y), s = (part.tolist() for part in preprocess.face_frame(points.astype(np.float64)))
    side = preprocess.HEIGHT * s * LEVEL.face_margin
    above = Drawn(x + 0.5, y + 0.5 - preprocess.ABOVE * s, side, side, 4)
    (drawn,) = levelled([above], points[None])
    expected = preprocess.region(box_of(points), LEVEL, points=points)
    assert (drawn.x, drawn.y, drawn.width) == pytest.approx((expected.x, expected.y, expected.side))
    assert drawn.rotation_deg == pytest.approx(4 + math.degrees(expected.angle))
    assert levelled([above], None) == [above]
