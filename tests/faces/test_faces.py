"""Detectors on real faces, and the tracker on scripted ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.faces import FaceTracker, make_detector
from dfer_edge.faces.detectors import HaarDetector, YuNetDetector
from dfer_edge.faces.track import match
from dfer_edge.sources import open_source
from dfer_edge.types import Box, Detection, Frame

PORTRAIT_EYES = (224, 105)  # between the eyes of stills/astronaut.png, by eye


def still(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def inside(box: Box, point: tuple[float, float]) -> bool:
    return box.left < point[0] < box.right and box.top < point[1] < box.bottom


def test_both_detectors_agree_on_a_portrait(media: Path, yunet: Path) -> None:
    image = still(media / "stills" / "astronaut.png")
    boxes = [make_detector(kind).detect(image)[0].box for kind in ("haar", yunet)]
    assert all(inside(box, PORTRAIT_EYES) for box in boxes)
    assert boxes[0].iou(boxes[1]) > 0.7, "one box convention for all detectors"


def test_haar_finds_nothing_where_there_is_nothing(media: Path) -> None:
    assert HaarDetector().detect(still(media / "stills" / "no_face.jpg")) == []
    assert HaarDetector().detect(np.zeros((16, 16, 3), np.uint8)) == []


def test_yunet_finds_the_group(media: Path, yunet: Path) -> None:
    found = YuNetDetector(yunet).detect(still(media / "stills" / "group.jpg"))
    assert len(found) >= 3
    assert all(0.6 <= detection.score <= 1 for detection in found)


@pytest.mark.parametrize("stride", [1, 8, 13])
def test_face_that_vanishes_is_tracked_to_its_last_frame(media: Path, yunet: Path, stride: int) -> None:
    tracker = FaceTracker(YuNetDetector(yunet), stride=stride)
    seen = [f.index for f, faces in tracker.track(open_source(media / "video" / "face_then_none.mov")) if faces]
    assert seen == list(range(72))


@pytest.mark.parametrize(("name", "people"), [("two_people_head_pose.gif", 2), ("three_people_walking.gif", 3)])
def test_people_keep_their_identity(media: Path, yunet: Path, name: str, people: int) -> None:
    source = open_source(media / "video" / name)
    ids = [{face.track_id for face in faces} for _, faces in FaceTracker(YuNetDetector(yunet)).track(source)]
    assert all(found == set(range(people)) for found in ids)


def test_detector_choices(media: Path, yunet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert make_detector().name == "haar", "the zero-download default"
    monkeypatch.setenv("DFER_EDGE_YUNET", str(yunet))
    assert make_detector().name == "yunet"
    monkeypatch.setenv("DFER_EDGE_YUNET", str(tmp_path / "none.onnx"))
    with pytest.raises(WeightsNotFound, match=r"none\.onnx"):
        make_detector()


def test_bad_detectors(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="mtcnn"):
        make_detector("mtcnn")
    with pytest.raises(WeightsNotFound, match="models fetch yunet"):
        make_detector("yunet")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(CorruptArtifact, match=r"broken\.onnx"):
        make_detector(broken)


class Scripted:
    """Finds the boxes that a script gives for the frame, and counts its calls; the pixel value is the index."""

    name = "scripted"

    def __init__(self, script: dict[int, list[Box]]) -> None:
        self._script, self.calls = script, []

    def detect(self, image: np.ndarray) -> list[Detection]:
        index = int(image[0, 0, 0])
        self.calls.append(index)
        return [Detection(box, 0.9) for box in self._script.get(index, [])]


class Nameless:
    """As little as a detector may be."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        return [Detection(Box(0, 0, 100, 100), 0.9)]


def test_an_object_with_detect_alone_is_a_detector() -> None:
    detector = make_detector(Nameless())
    assert detector.name == "Nameless"
    assert len(detector.detect(np.zeros((16, 16, 3), np.uint8))) == 1
    scripted = Scripted({})
    assert make_detector(scripted) is scripted
    with pytest.raises(InvalidInput, match="expected detector"):
        make_detector(object())


def frames(count: int) -> list[Frame]:
    return [Frame(np.full((16, 16, 3), index, np.uint8), index) for index in range(count)]


def at(x: float) -> Box:
    return Box(x, 0, x + 100, 100)


def test_calm_scene_costs_one_detection_a_stride_and_is_interpolated() -> None:
    detector = Scripted({index: [at(2 * index)] for index in range(33)})
    tracked = list(FaceTracker(detector, stride=8).track(frames(33)))
    assert detector.calls == [0, 8, 16, 24, 32]
    for frame, faces in tracked:
        assert [face.track_id for face in faces] == [0]
        assert faces[0].box == pytest.approx(at(2 * frame.index))


def test_a_jump_between_key_frames_is_found_on_its_frame() -> None:
    script = {index: [at(0 if index < 4 else 50)] for index in range(9)}
    tracked = list(FaceTracker(Scripted(script), stride=8).track(frames(9)))
    assert [faces[0].box for _, faces in tracked] == [script[index][0] for index in range(9)]
    assert {faces[0].track_id for _, faces in tracked} == {0}


def test_two_people_crossing_do_not_swap_and_both_stay() -> None:
    script = {index: [at(3 * index), Box(0, 300, 100, 400)] for index in range(20)}
    for _, faces in FaceTracker(Scripted(script)).track(frames(20)):
        assert {face.track_id: face.box.top for face in faces} == {0: 0, 1: 300}


def test_gap_keeps_the_identity_until_it_is_forgotten() -> None:
    script = {index: [at(0)] for index in (*range(5), *range(10, 15), *range(60, 65))}
    tracked = FaceTracker(Scripted(script), stride=4, max_gap=20).track(frames(65))
    ids = {frame.index: [face.track_id for face in faces] for frame, faces in tracked}
    assert [index for index, found in ids.items() if found] == sorted(script)
    assert ids[4] == ids[10] == [0]
    assert ids[60] == [1]


def test_matching_takes_the_best_overlap_first() -> None:
    assert match([at(0), at(60)], [at(50), at(300)], 0.2) == [(1, 0)]
