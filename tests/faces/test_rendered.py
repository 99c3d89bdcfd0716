"""The shipped face detector: real faces, turned frames, frames of any size, files that are something else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import CorruptArtifact, WeightsNotFound
from dfer_edge.faces import make_detector
from dfer_edge.faces.landmarks import SHIPPED as LANDMARKS
from dfer_edge.faces.landmarks import Landmarks
from dfer_edge.faces.rendered import SHIPPED, RenderedFaces, _turned_back
from dfer_edge.types import Box


@pytest.fixture(scope="module")
def detector() -> RenderedFaces:
    return RenderedFaces()


@pytest.fixture
def portrait(astronaut_frames: list[np.ndarray]) -> np.ndarray:
    return astronaut_frames[0]


def test_one_face_of_a_portrait(detector: RenderedFaces, portrait: np.ndarray) -> None:
    (found,) = detector.detect(portrait)
    assert found.points is not None
    assert found.roll_deg is not None
    right, left, nose, *mouth = np.array(found.points)
    assert right[0] < nose[0] < left[0]
    assert max(right[1], left[1]) < nose[1] < min(corner[1] for corner in mouth)
    assert abs(found.roll_deg) < 20
    assert found.box.left < right[0] < left[0] < found.box.right
    (haar,) = make_detector("haar").detect(portrait)
    assert found.box.iou(haar.box) > 0.55, "one box convention for all detectors"


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_frames_that_lie_or_hang(detector: RenderedFaces, portrait: np.ndarray, quarters: int) -> None:
    (upright,) = detector.detect(portrait)
    found = detector.detect(np.ascontiguousarray(np.rot90(portrait, quarters)))[0]
    side = portrait.shape[0]
    corners = np.array(upright.box).reshape(2, 2)
    for _ in range(quarters):
        corners = np.stack([corners[:, 1], side - corners[:, 0]], axis=1)
    expected = Box(*corners.min(0), *corners.max(0))
    assert found.box.iou(expected) > 0.6
    wanted = (float(upright.roll_deg or 0.0) - 90 * quarters + 180) % 360 - 180
    assert abs((float(found.roll_deg or 0.0) - wanted + 180) % 360 - 180) < 20


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turning_back_is_exact(quarters: int) -> None:
    grey = np.zeros((40, 70), np.uint8)
    grey[5, 60] = 255
    turned = np.rot90(grey, quarters)
    row, column = np.argwhere(turned)[0]
    rows = np.full((1, 15), 0.5, np.float32)
    rows[0, 1:] = np.tile([column + 0.5, row + 0.5], 7)
    back = _turned_back(rows, quarters, *turned.shape)
    np.testing.assert_array_equal(back[0, 1:], np.tile([60.5, 5.5], 7))


def test_a_face_that_fills_the_frame(detector: RenderedFaces, portrait: np.ndarray) -> None:
    (found,) = detector.detect(portrait)
    left, top, right, bottom = found.box.rounded()
    crop = np.ascontiguousarray(portrait[max(0, top) : bottom, max(0, left) : right])
    for factor in (1.5, 15.0):
        image = np.asarray(cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
        assert detector.detect(image)[0].box.iou(Box(0, 0, image.shape[1], image.shape[0])) > 0.6


def test_many_faces(detector: RenderedFaces, portrait: np.ndarray) -> None:
    (found,) = detector.detect(portrait)
    x, y = (found.box.left + found.box.right) / 2, (found.box.top + found.box.bottom) / 2
    half = 0.65 * found.box.height
    region = [max(0, int(v)) for v in (y - half, y + half, x - half, x + half)]
    tile = cv2.resize(portrait[region[0] : region[1], region[2] : region[3]], (64, 64), interpolation=cv2.INTER_AREA)
    faces = detector.detect(np.tile(tile, (10, 10, 1)))
    cells = {(int((f.box.left + f.box.right) / 128), int((f.box.top + f.box.bottom) / 128)) for f in faces}
    assert len(cells) > 50, "most of a hundred"


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (16, 1000), (1000, 16), (31, 33), (4320, 7680)])
@pytest.mark.parametrize("value", [0, 130])
def test_frames_without_anything(detector: RenderedFaces, shape: tuple[int, int], value: int) -> None:
    assert detector.detect(np.full((*shape, 3), value, np.uint8)) == []


def test_the_same_frame_gives_the_same_faces(detector: RenderedFaces, portrait: np.ndarray) -> None:
    first = detector.detect(portrait)
    detector.detect(np.zeros((50, 60, 3), np.uint8))
    assert detector.detect(portrait) == first


def test_no_face(detector: RenderedFaces, media: Path) -> None:
    image = cv2.cvtColor(cv2.imread(str(media / "stills" / "no_face.jpg")), cv2.COLOR_BGR2RGB)
    assert detector.detect(image) == []


def test_files(tmp_path: Path) -> None:
    assert SHIPPED.stat().st_size <= 1_000_000
    assert make_detector(SHIPPED).name == "rendered"
    with pytest.raises(CorruptArtifact, match=r"shipped kind.*landmarks68"):
        RenderedFaces(LANDMARKS)
    with pytest.raises(CorruptArtifact, match=r"face detector.*landmarks68"):
        make_detector(LANDMARKS)
    with pytest.raises(WeightsNotFound, match="missing"):
        RenderedFaces(tmp_path / "missing.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(CorruptArtifact, match="broken"):
        RenderedFaces(broken)


class Second:
    """A landmark network that gives every place the same score."""

    name = "second"

    def __init__(self, score: float) -> None:
        self.score, self.boxes = score, list[Box]()

    def detect_scored(self, image: np.ndarray, box: Box) -> Landmarks:
        self.boxes.append(box)
        return Landmarks(np.zeros((68, 2), np.float32), self.score, np.zeros(68, np.float32))


def _row(score: float, left: float, top: float, side: float) -> np.ndarray:
    row = np.zeros((1, 15), np.float32)
    row[0, :5] = score, left, top, left + side, top + side
    return row


@pytest.mark.parametrize(
    ("score", "second", "found"),
    [
        (0.7, 0.01, True),
        (0.5, 0.99, True),
        (0.5, 0.5, False),
        (0.35, 0.999, True),
        (0.35, 0.9, False),
        (0.25, 0.999, False),
    ],
)
def test_a_face_in_doubt_is_shown_to_the_landmark_network(
    score: float, second: float, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Second(second)
    detector = RenderedFaces(second=judge)  # type: ignore[arg-type]
    monkeypatch.setattr(detector, "_confirmed", lambda grey, rows: rows)
    image = np.zeros((300, 300, 3), np.uint8)
    rows = detector._faces(image, image[..., 0], _row(score, 50, 60, 40), 0.45)
    assert bool(len(rows)) == found
    assert bool(judge.boxes) == (0.27 < score < 0.55), "who is sure, and who cannot be saved, costs nothing"


def test_a_part_of_a_face_is_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = RenderedFaces(second=Second(0.999))  # type: ignore[arg-type]
    monkeypatch.setattr(detector, "_confirmed", lambda grey, rows: rows)
    image = np.zeros((400, 400, 3), np.uint8)
    for score, left, expected in ((0.45, 130.0, 1), (0.45, 210.0, 2), (0.8, 130.0, 2)):
        rows = np.concatenate([_row(0.9, 100, 100, 140), _row(score, left, 110, 60)])
        assert len(detector._faces(image, image[..., 0], rows, 0.45)) == expected, "one in doubt, inside a better one"


def test_of_the_only_face_a_little_less_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = np.zeros((0, 15), np.float32)
    for scores, expected in (((0.42,), [0.42]), ((0.42, 0.415), [0.42]), ((0.7, 0.42), [0.7]), ((0.4,), [])):
        detector = RenderedFaces(second=Second(1 / (1 + np.exp(-2.8))))  # type: ignore[arg-type] # adds nothing
        rows = np.concatenate([_row(score, 20 + 80 * n, 60, 40) for n, score in enumerate(scores)])
        monkeypatch.setattr(detector, "_look", lambda grey, *_, rows=rows: rows if grey.shape == (200, 240) else empty)
        monkeypatch.setattr(detector, "_confirmed", lambda grey, rows: rows)
        for name in ("_turned", "_framed"):
            monkeypatch.setattr(detector, name, lambda grey, scale: empty)
        found = detector.detect(np.zeros((200, 240, 3), np.uint8))
        assert [face.score for face in found] == pytest.approx(expected, abs=1e-3)


def test_small_faces_are_looked_at_from_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """In frames of many pixels only: there a nearer look shows more, and what it shows of large faces is left."""
    scales: list[float] = []
    for shape, first, expected in (((800, 1200), 40.0, 2), ((800, 1200), 120.0, 1), ((360, 640), 20.0, 1)):
        detector = RenderedFaces()
        scales.clear()

        def look(grey: np.ndarray, scale: float, threshold: float, least: float, first: float = first) -> np.ndarray:
            scales.append(scale)
            if len(scales) == 1:
                return _row(0.8, 100, 100, first)
            near = np.concatenate([_row(0.9, 300, 200, 30), _row(0.9, 500, 200, 200), _row(0.9, 102, 101, 40)])
            return near if scale > scales[0] else np.zeros((0, 15), np.float32)

        monkeypatch.setattr(detector, "_look", look)
        monkeypatch.setattr(detector, "_confirmed", lambda grey, rows: rows)
        found = detector.detect(np.zeros((*shape, 3), np.uint8))
        assert len(found) == expected
        assert {round(face.box.left) for face in found} == ({100, 300} if expected == 2 else {100})
    assert len(scales) == 2, "no nearer look at a frame without more pixels"


def test_a_face_larger_than_the_frame(detector: RenderedFaces, portrait: np.ndarray) -> None:
    (whole,) = detector.detect(portrait)
    left, top, right, bottom = whole.box.rounded()
    middle = portrait[top + 8 : bottom - 8, left + 8 : right - 8]
    for image in (middle, cv2.resize(middle, (640, 640), interpolation=cv2.INTER_CUBIC)):
        for face in detector.detect(np.ascontiguousarray(image)):
            assert np.isfinite(face.box).all()
            assert face.box.iou(Box(0, 0, image.shape[1], image.shape[0])) > 0.3


def test_a_face_that_fills_the_frame_is_seen_with_room_round_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first looks find nothing, the frame is looked at again inside a wider one, in its own pixels."""
    detector = RenderedFaces()
    seen: list[tuple[int, ...]] = []

    def look(grey: np.ndarray, scale: float, threshold: float, least: float) -> np.ndarray:
        seen.append(grey.shape)
        if grey.shape != (200, 240):  # room of half the longer side all round 100 x 120
            return np.zeros((0, 15), np.float32)
        row = np.zeros((1, 15), np.float32)
        row[0, :5] = 0.5, 70, 65, 160, 150
        return row

    monkeypatch.setattr(detector, "_look", look)
    monkeypatch.setattr(detector, "_confirmed", lambda grey, rows: rows)
    (found,) = detector.detect(np.zeros((80, 120, 3), np.uint8))
    assert seen[-1] == (200, 240)
    assert (found.box.left, found.box.top, found.box.right, found.box.bottom) == (10, 5, 100, 90)


@pytest.mark.parametrize(
    ("scores", "second", "expected"),
    [((0.4,), 0.999, 0.4), ((0.4,), 0.9, None), ((0.25,), 0.9999, None), ((0.3, 0.6, 0.4), 0.999, 0.6)],
)
def test_a_face_that_no_further_look_confirms_is_the_landmark_networks_to_tell(
    scores: tuple[float, ...], second: float, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone in the frame, and one only: the likeliest; places that cannot be saved are not asked about."""
    judge = Second(second)
    detector = RenderedFaces(second=judge)  # type: ignore[arg-type]
    rows = np.concatenate([_row(score, 10 + 50 * n, 20, 40) for n, score in enumerate(scores)])
    monkeypatch.setattr(detector, "_confirmed", lambda grey, rows: rows[:0])
    monkeypatch.setattr(detector, "_look", lambda grey, scale, threshold, least: rows[rows[:, 0] >= threshold].copy())
    found = detector.detect(np.zeros((300, 300, 3), np.uint8))
    assert len(found) == (expected is not None)
    assert len(judge.boxes) == (0 if scores == (0.25,) else 3), "no more than three"
    if expected is not None:
        assert round(found[0].box.left) == 10 + 50 * scores.index(expected)
        assert 0.5 < found[0].score < 1
