"""dlib's face detector: through a stand-in that refuses what the real one refuses, and the real one where it is."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import EngineUnavailable
from dfer_edge.faces import make_detector
from tests.faces.test_faces import still


class Square:
    """dlib's: right and bottom inclusive, and what one reads is a call."""

    def __init__(self, left: int, top: int, side: int) -> None:
        self._edges = (left, top, side)

    def left(self) -> int:
        return self._edges[0]

    def top(self) -> int:
        return self._edges[1]

    def width(self) -> int:
        return self._edges[2]


class Finder:
    """dlib's ``fhog_object_detector`` with two faces, worse first."""

    def run(self, image: np.ndarray, upsample: int, threshold: float) -> tuple[list[Square], list[float], list[int]]:
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert type(upsample) is int
        assert max(image.shape) <= 480
        return [Square(10, 20, 50), Square(-5, 30, 100)], [-0.0, 1.5], [0, 2]


def test_squares_become_boxes_of_the_one_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", types.SimpleNamespace(get_frontal_face_detector=Finder))
    detector = make_detector("dlib")
    found = detector.detect(np.zeros((960, 500, 3), np.uint8)[:, ::-1])
    assert detector.name == "dlib"
    assert [detection.score for detection in found] == [pytest.approx(0.6), 0.0], "best first"
    box = found[1].box
    # Twice as large as what was searched; the middle of the square is (35, 45) there.
    assert box.left + box.right == pytest.approx(2 * 70)
    assert box.top < 2 * 45 < box.bottom
    assert box.height > box.width, "from forehead to chin"


def test_without_dlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(EngineUnavailable, match="expected dlib for its face detector") as caught:
        make_detector("dlib")
    assert "landmarks-dlib" in caught.value.hint


def test_the_real_one_agrees_with_yunet(media: Path, yunet: Path) -> None:
    pytest.importorskip("dlib", reason="dlib is not installed")
    image = still(media / "stills" / "astronaut.png")
    theirs = make_detector("dlib").detect(image)[0]
    assert theirs.box.iou(make_detector(yunet).detect(image)[0].box) > 0.7, "one box convention for all detectors"
    assert 0 < theirs.score < 1
    assert make_detector("dlib").detect(np.zeros((300, 300, 3), np.uint8)) == []
