"""The measure of landmarks on annotated photos: how it reads them, what it counts, and photos that are not there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.studies import real_landmarks as measured
from dfer_edge.types import Box, Detection


class Detector:
    """Finds one box; counts its calls."""

    def __init__(self, box: Box) -> None:
        self.box, self.calls = box, 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.calls += 1
        return [Detection(self.box, 0.9)]


class Network:
    """Answers with the same points, or none, wherever it is asked."""

    def __init__(self, points: np.ndarray | None) -> None:
        self.points = points

    def detect(self, image: np.ndarray, box: Box) -> np.ndarray | None:
        return self.points


def face(left: float = 30.0) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(left, left + 40, 17), np.linspace(20, 60, 4))
    return np.stack([x.ravel(), y.ravel()], 1)


def written(path: Path, points: np.ndarray, header: bool) -> None:
    lines = [f"{x + 1:.6f} {y + 1:.6f}" for x, y in points]
    if header:
        lines = ["version: 1", "n_points: 68", "{", *lines, "}"]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two faces in one photo, as AFW has them."""
    monkeypatch.setattr(measured, "SETS", {"afw": 2})
    (tmp_path / "landmarks" / "afw").mkdir(parents=True)
    folder = tmp_path / "landmarks" / "afw"
    written(folder / "7_1.pts", face(), header=True)
    written(folder / "7_2.pts", face(130.0), header=False)
    cv2.imwrite(str(folder / "7_2.jpg"), np.zeros((100, 200, 3), np.uint8))
    return folder


def test_points_are_counted_from_zero_with_and_without_a_header(folder: Path) -> None:
    np.testing.assert_allclose(measured.read_points(folder / "7_1.pts"), face(), atol=1e-5)
    np.testing.assert_allclose(measured.read_points(folder / "7_2.pts"), face(130.0), atol=1e-5)


def test_faces_of_one_photo_and_one_that_the_detector_missed(folder: Path) -> None:
    detector = Detector(Box(28, 15, 72, 65))
    first, second = measured.read_set(folder, detector)
    assert detector.calls == 1
    assert first.box == detector.box
    assert second.box is None
    rows = measured.errors(Network(face() + np.array([3.0, 4.0])), [first, second])
    np.testing.assert_allclose(rows[0], 5.0 / first.unit)
    told = measured.summarised(rows)
    assert (told["faces"], told["missed_by_the_detector"], told["refused_by_the_network"]) == (2, 1, 0)
    assert told["error_percent"]["jaw"] == pytest.approx(500 / first.unit, abs=0.01)
    assert told["failures_percent"] == 100 * (5.0 / first.unit > 0.1)
    assert len(measured.errors(Network(face()), [first, second], jitter=3)) == 6


def test_a_refused_face_is_a_failure_and_no_error() -> None:
    rows = np.stack([np.full(68, 0.03), np.full(68, np.inf), np.full(68, 0.2)])
    told = measured.summarised(rows)
    assert told["refused_by_the_network"] == 1
    assert told["error_percent"]["all"] == 11.5
    assert told["failures_percent"] == 66.67


def test_photos_that_are_not_there(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(measured.Absent, match="expected annotated photos"):
        measured.measure(tmp_path / "none", tmp_path, None)
    (folder / "7_1.pts").unlink()
    with pytest.raises(measured.Absent, match=r"expected 2 annotated faces .* found 1"):
        measured.read_set(folder, Detector(Box(0, 0, 9, 9)))
    written(folder / "7_1.pts", face()[:60], header=True)
    with pytest.raises(measured.Absent, match="expected 68 points"):
        measured.read_set(folder, Detector(Box(0, 0, 9, 9)))
    written(folder / "7_1.pts", face(), header=True)
    (folder / "7_2.jpg").write_bytes(b"no photo")
    with pytest.raises(measured.Absent, match="decodes"):
        measured.read_set(folder, Detector(Box(0, 0, 9, 9)))


def test_the_command_says_so_and_exits_with_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(measured, "pin", lambda count: [0])
    assert measured.main([str(tmp_path / "none"), str(tmp_path)]) == 2
    assert "expected annotated photos in" in capsys.readouterr().err
