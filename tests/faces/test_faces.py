"""Detectors on real faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.faces import make_detector
from dfer_edge.faces.detectors import HaarDetector, YuNetDetector
from dfer_edge.types import Box, Detection

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


def test_detector_choices(media: Path, yunet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DFER_EDGE_YUNET", str(yunet))
    assert make_detector().name == make_detector("rendered").name == "rendered", "the zero-download default"
    assert make_detector("yunet").name == make_detector(yunet).name == "yunet"
    monkeypatch.setenv("DFER_EDGE_YUNET", str(tmp_path / "none.onnx"))
    with pytest.raises(WeightsNotFound, match=r"none\.onnx"):
        make_detector("yunet")


def test_bad_detectors(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="mtcnn"):
        make_detector("mtcnn")
    with pytest.raises(WeightsNotFound, match="models fetch yunet"):
        make_detector("yunet")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(CorruptArtifact, match=r"broken\.onnx"):
        make_detector(broken)


class Nameless:
    """As little as a detector may be."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        return [Detection(Box(0, 0, 100, 100), 0.9)]


def test_an_object_with_detect_alone_is_a_detector() -> None:
    detector = make_detector(Nameless())
    assert detector.name == "Nameless"
    assert len(detector.detect(np.zeros((16, 16, 3), np.uint8))) == 1
    named = HaarDetector()
    assert make_detector(named) is named
    with pytest.raises(InvalidInput, match="expected detector"):
        make_detector(object())
