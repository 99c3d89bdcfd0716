"""Boxes that landmarks lay: where they must lie by hand, the same for every detector, and the detector's in doubt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import CorruptArtifact, Recognizer, WeightsNotFound
from dfer_edge.calibration import from_folder
from dfer_edge.engines.base import Engine
from dfer_edge.faces import FaceFinder, for_network, make_detector, make_landmark_detector
from dfer_edge.faces.aligned import box_of
from dfer_edge.faces.landmarks import make_laying_detector
from dfer_edge.flow import preprocess
from dfer_edge.inference import registry
from dfer_edge.inference.keypoint_graph import mean_shape
from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.types import Box, Detection, Image, Points
from tests.faces.test_faces import still

PLAIN = registry.find("slowr50_sa").spec
ALIGNED = dataclasses.replace(PLAIN, face_box="landmarks")
IMAGE = np.zeros((400, 400, 3), np.uint8)


def face(x: float, y: float, s: float) -> Points:
    """Points whose eyes lie s apart and s above the mouth, the middle of it all at (x, y) in pixel centres."""
    points = np.full((68, 2), np.nan, np.float32)
    points[:] = (x, y)
    points[36:42] = (x - s / 2, y - s / 2)
    points[42:48] = (x + s / 2, y - s / 2)
    points[[48, 54]] = [(x - s / 3, y + s / 2), (x + s / 3, y + s / 2)]
    return points


class Fixed:
    """A detector of one face, or a landmark detector that always answers the same."""

    name = "fixed"

    def __init__(self, answer: object) -> None:
        self.answer, self.boxes = answer, []

    def detect(self, image: Image, box: Box | None = None) -> object:
        self.boxes.append(box)
        return self.answer


def aligned(points: Points | None, *boxes: Box) -> list[Detection]:
    return FaceFinder(Fixed([Detection(box, 0.5) for box in boxes]), Fixed(points)).detect(IMAGE)


def test_the_box_of_a_face_drawn_by_hand() -> None:
    """s = 50: 2.03 s wide, 2.84 s high, its centre 0.145 s above the middle, which is at 100.5 in edges of pixels."""
    expected = (100.5 - 50.75, 120.5 - 7.25 - 71, 100.5 + 50.75, 120.5 - 7.25 + 71)
    assert box_of(face(100, 120, 50)) == pytest.approx(expected, abs=1e-4)


def test_every_box_round_a_face_becomes_the_same(rng: np.random.Generator) -> None:
    points, landmarks = face(200, 210, 60), Fixed(face(200, 210, 60))
    exact = box_of(points)
    boxes = [Box(*(np.asarray(exact) + shift)) for shift in rng.uniform(-12, 12, (10, 4))]
    found = FaceFinder(Fixed([Detection(box, 0.5) for box in boxes]), landmarks).detect(IMAGE)
    assert [detection.box for detection in found] == [exact] * 10
    assert {detection.score for detection in found} == {0.5}
    assert landmarks.boxes == boxes, "landmarks are looked for where the detector saw the face"


def test_the_detector_is_believed_where_landmarks_are_lost_or_elsewhere() -> None:
    box = Box(100, 100, 200, 240)
    assert aligned(None, box)[0].box == box
    assert aligned(face(350, 350, 40), box)[0].box == box, "another place"
    assert aligned(face(150, 175, 10), box)[0].box == box, "another size"


def test_a_face_that_the_detector_sees_rolled_is_looked_at_levelled_at_once() -> None:
    class Seen:
        name = "seen"

        def __init__(self) -> None:
            self.shapes: list[tuple[int, ...]] = []

        def detect(self, image: np.ndarray, box: Box) -> None:
            self.shapes.append(image.shape)

    image, box = np.zeros((300, 400, 3), np.uint8), Box(100, 100, 180, 180)
    for roll_deg, levelled in ((0.0, False), (8.0, False), (35.0, True), (-35.0, True)):
        along = np.array([np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))]) * 20
        eyes = [tuple(np.array(box.centre) + side * along) for side in (-1, 1)]
        seen = Seen()
        FaceFinder(Seen(), seen).place(image, [Detection(box, 0.9, (*eyes, eyes[0], eyes[0], eyes[1]))])
        assert [shape != image.shape for shape in seen.shapes] == [levelled]


def test_the_spec_decides(tmp_path: Path) -> None:
    landmarks = Fixed(mean_shape() * 100)
    plain, none = for_network(PLAIN, "haar", landmarks)
    assert (plain.name, plain.aligns, none) == ("haar", False, None)
    assert plain.landmarks is landmarks, "they follow, whatever lays the boxes"
    laid, none = for_network(ALIGNED, "haar", landmarks)
    assert (laid.name, laid.aligns, none) == ("haar", True, None)
    assert laid.landmarks is landmarks
    unlaid, _ = for_network(ALIGNED, "haar", None)
    assert not unlaid.aligns
    keypoints = registry.find("keypoint_tsa").spec
    assert for_network(keypoints, "haar", landmarks)[1] is landmarks
    with pytest.raises(WeightsNotFound):
        for_network(ALIGNED, "haar", tmp_path / "missing.onnx")


def test_the_spec_of_plain_boxes_reads_as_before_and_a_wrong_one_is_refused() -> None:
    """Hashes of weights hold the text: a new field must not undo ranges and checkpoints of older files."""
    assert "face_box" not in PLAIN.to_json()
    for spec in (PLAIN, ALIGNED):
        assert ModelSpec.from_json(spec.to_json()) == spec
    with pytest.raises(CorruptArtifact, match="face_box is none of detector, landmarks"):
        ModelSpec.from_json(ALIGNED.to_json().replace('"landmarks", "face_margin"', '"eyes", "face_margin"'))


def test_detectors_of_users_keep_their_attributes() -> None:
    class Own:
        landmarks = np.zeros(3)

        def detect(self, image: Image) -> list[Detection]:
            return []

    info = Recognizer("slowr50_sa", "random", engine="onnxruntime", detector=Own()).info()
    assert (info["detector"], info["face_box"], info["landmark_detector"]) == ("Own", "detector", "following68")


def test_an_engine_is_closed_when_landmarks_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Engine, "close", lambda self: closed.append(self.name))
    with pytest.raises(WeightsNotFound):
        Recognizer("slowr50_sa", engine="onnxruntime", landmark_detector=tmp_path / "missing.onnx")
    assert closed == ["onnxruntime"]


def test_shipped_weights_read_aligned_faces() -> None:
    recognizer = Recognizer("slowr50_sa", engine="onnxruntime", detector="haar")
    info = recognizer.info()
    assert (info["face_box"], info["landmark_detector"], info["detector"]) == ("landmarks", "following68", "haar")
    without = Recognizer("slowr50_sa", engine="onnxruntime", detector="haar", landmark_detector=None).info()
    assert (without["face_box"], without["landmark_detector"]) == ("detector", None)
    random = Recognizer("slowr50_sa", "random", engine="onnxruntime", detector="haar").info()
    assert (random["face_box"], random["landmark_detector"]) == ("detector", "following68")


def test_detectors_agree_better_once_landmarks_lay_their_boxes(media: Path, yunet: Path) -> None:
    landmarks = make_landmark_detector()
    plain, laid = [], []
    for path in sorted((media / "stills" / "validation").glob("*_t10_*.jpg")):
        image = still(path)
        detectors = [make_detector(kind) for kind in ("haar", yunet)]
        found = [detector.detect(image) for detector in detectors]
        if not all(found):
            continue
        plain.append(found[0][0].box.iou(found[1][0].box))
        boxes = [FaceFinder(detector, landmarks).detect(image)[0].box for detector in detectors]
        laid.append(boxes[0].iou(boxes[1]))
    assert len(plain) >= 8
    assert np.median(laid) > 0.9 > np.median(plain)


def test_recogniser_calibration_and_training_cut_the_same_crop(
    astronaut_frames: list[np.ndarray], tmp_path: Path
) -> None:
    recognizer = Recognizer("slowr50_sa", engine="onnxruntime", detector="haar")
    spec, image = recognizer.spec, astronaut_frames[0]
    points = make_laying_detector().detect(image, make_detector("haar").detect(image)[0].box)
    expected = preprocess.face_crop(image, box_of(points), spec)
    np.testing.assert_array_equal(recognizer.clip(image[None]).frames, np.stack([expected] * spec.frames))
    cv2.imwrite(str(tmp_path / "face.png"), image[..., ::-1])
    (feed,) = from_folder(tmp_path, spec, 1, "haar")
    np.testing.assert_array_equal(feed["clip"][0], preprocess.normalise(np.stack([expected] * spec.frames), spec))
    found = FaceCropper(spec, *for_network(spec, "haar")).find([image], cropped=False)
    assert found.boxes is not None
    np.testing.assert_array_equal(preprocess.face_crop(image, found.boxes[0], spec), expected)
