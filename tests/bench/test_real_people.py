"""The ruler on tiny fakes: what is a sample, what is right, what a lost face costs, what half cut means."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.studies.real_people import crops, judge, measure, paired, peers
from bench.studies.real_people.__main__ import main
from bench.studies.real_people.faces import (
    Memory,
    RememberingDetector,
    RememberingLandmarks,
    RememberingScoredLandmarks,
    fingerprint,
    remembering,
)
from bench.studies.real_people.judge import sequences, summary
from bench.studies.real_people.run import Row, Run, read
from bench.studies.real_people.samples import WHOLE, find
from bench.studies.real_people.table import table
from dfer_edge.errors import CorruptArtifact, InvalidInput, SourceNotFound
from dfer_edge.faces.landmarks import Landmarks, ScoredLandmarkDetector
from dfer_edge.labels import DFEW
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Box
from tests.evaluation.fakes import FakeRecognizer, WholeDetector, clip, write_image


class Fake(FakeRecognizer):
    """The fake of the evaluation, that opens paths as the real one does and has clips."""

    def predict(self, source: Any, faces: str = "detect") -> Any:
        return super().predict([frame.image for frame in open_source(source)], faces)

    def clip(self, source: Any) -> Any:
        return dataclasses.replace(clip(8, 16), frame_indices=(0, 0, 0, 1, 1, 1, 2, 2))


class Points:
    """68 points on the two diagonals of the box: eyes above the mouth."""

    name = "points"

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: np.ndarray, box: Any) -> np.ndarray | None:
        self.calls += 1
        points = np.zeros((68, 2), np.float32)
        points[36:42], points[42:48], points[48], points[54] = (30, 30), (50, 30), (30, 50), (50, 50)
        return points


def row(truth: str, said: str | None, name: str = "a", group: str = "g", part: str = "s", p: float = 0.4) -> Row:
    scores = None
    if said is not None:
        scores = tuple(p if label == said else (1 - p) / 6 for label in DFEW)
    return Row(group, part, truth, name, scores)


def run(*rows: Row, name: str = "one") -> Run:
    return Run(name, DFEW, rows, {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for path, level in {"web/happy/a.png": 30, "web/sadness/b.png": 60, "web/sadness/dark.png": 5}.items():
        write_image(root / path, level)
    # The middle frame, and so the clip, says fear; the others happy and neutral.
    for number, level in enumerate((30, 250, 90)):
        write_image(root / f"seq/fear/S1/{number}.png", level)
    write_image(root / "landmarks/helen/a.png")
    return root


def test_samples_are_stills_and_folders_of_frames_of_sets(folder: Path) -> None:
    found = find(folder, DFEW)
    keys = [("seq", "fear", "S1"), ("web", "happy", "a.png"), ("web", "sad", "b.png"), ("web", "sad", "dark.png")]
    assert [sample.key for sample in found] == keys
    assert [sample.is_sequence for sample in found] == [True, False, False, False]
    assert {sample.group for sample in found} == {"people"}
    assert [sample.key[0] for sample in find(folder, DFEW, ["seq"])] == ["seq"]


def test_absent_and_half_cut(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceNotFound, match="found none at"):
        find(tmp_path / "gone", DFEW)
    with pytest.raises(SourceNotFound, match="other has no samples"):
        find(folder, DFEW, ["web", "other"])
    (folder / "web/fear").mkdir()
    with pytest.raises(InvalidInput, match="empty: half cut"):
        find(folder, DFEW)
    (folder / "web/fear/frames").mkdir()
    with pytest.raises(InvalidInput, match=r"expected frames in .*half cut"):
        find(folder, DFEW)
    assert main([str(tmp_path / "gone"), "--model", "slowr50_sa"]) == 2
    assert "expected a folder of sets" in capsys.readouterr().err


def test_the_validation_part_has_to_be_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(samples for samples, _ in WHOLE.values()) == 729
    for number in range(30):
        write_image(tmp_path / f"stock_named/happy/{number}.png")
    assert len(find(tmp_path, DFEW, ["stock_named"])) == 30
    with pytest.raises(InvalidInput, match=r"expected 214 samples of 214 files in .*affectnet_hull200, got 0 of 0"):
        find(tmp_path, DFEW)
    (tmp_path / "stock_named/happy/3.png").unlink()
    with pytest.raises(InvalidInput, match="got 29 of 29: half cut"):
        find(tmp_path, DFEW, ["stock_named"])
    assert main([str(tmp_path), "--sets", "stock_named", "--model", "slowr50_sa"]) == 2
    assert "half cut" in capsys.readouterr().err
    assert len(find(tmp_path, DFEW, any_size=True)) == 29


def test_a_lost_face_is_wrong_and_knows_nothing() -> None:
    found = judge(run(row("happy", "happy"), row("happy", "sad"), row("sad", "sad"), row("sad", None)))
    assert (found.samples, found.lost, found.uar, found.accuracy) == (4, 1, 0.5, 0.5)
    assert found.confusion == {"happy": [1, 1, 0, 0, 0, 0, 0, 0], "sad": [0, 1, 0, 0, 0, 0, 0, 1]}
    # Two are right with 0.4, one has 0.1 for the truth, one 1/7.
    assert found.log_loss == pytest.approx(-(2 * np.log(0.4) + np.log(0.1) + np.log(1 / 7)) / 4)
    # Of three faces two are right, all with 0.4.
    assert found.ece == pytest.approx(2 / 3 - 0.4)


def test_recall_is_over_the_labels_that_are_there() -> None:
    # Neutral is said, but no sample is neutral: the mean is over happy and fear alone.
    found = judge(run(row("happy", "neutral"), row("fear", "fear")))
    assert found.recall == {"happy": 0.0, "fear": 1.0}
    assert found.uar == 0.5
    with pytest.raises(InvalidInput, match="expected the label contempt"):
        judge(run(row("contempt", "happy")))


def test_means_are_over_sets_not_samples() -> None:
    rows = [row("happy", "happy", str(n)) for n in range(9)] + [row("happy", "sad", "x", part="other")]
    found = summary(run(*rows), "g")
    assert found["uar"] == 0.5
    assert found["recall"] == {"happy": 0.9}
    assert found["log_loss"] == pytest.approx(-(np.log(0.4) + np.log(0.1)) / 2)


def test_paired_difference() -> None:
    # 40 faces: the second run is right on 10 more of them.
    first = run(*(row("happy", "sad" if n < 20 else "happy", str(n)) for n in range(40)))
    second = run(*(row("happy", "sad" if n < 10 else "happy", str(n)) for n in range(40)), name="two")
    found = paired(first, second, "g")
    assert found["difference"] == 0.25
    # A mean of 40 draws that are 1 in a quarter of the cases has a standard error of 0.0685.
    assert found["low"] == pytest.approx(0.25 - 1.96 * 0.0685, abs=0.02)
    assert found["high"] == pytest.approx(0.25 + 1.96 * 0.0685, abs=0.02)
    assert found["not_better"] == 0
    assert found["samples"] == 40
    same = paired(first, first, "g")
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
    with pytest.raises(InvalidInput, match="expected the same samples of s"):
        paired(first, run(*second.rows[1:]), "g")
    with pytest.raises(InvalidInput, match="expected a set that both"):
        paired(first, run(row("happy", "sad", part="elsewhere")), "g")


def test_a_run_through_a_recognizer(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = measure(Fake(WholeDetector()), find(folder, DFEW), "fake")
    by_name = {one.name: one for one in made.rows}
    assert judge(made).confusion == {
        "happy": [1, 0, 0, 0, 0, 0, 0, 0],
        "sad": [0, 1, 0, 0, 0, 0, 0, 1],
        "fear": [0, 0, 0, 0, 0, 0, 1, 0],
    }
    assert by_name["dark.png"].probabilities is None
    # Three frames say happy, three fear, two neutral, each with 0.75.
    rest = 0.25 / 6
    three, two = (3 * 0.75 + 5 * rest) / 8, (2 * 0.75 + 6 * rest) / 8
    expected = [three, rest, two, *[rest] * 3, three]
    assert by_name["S1"].frames == pytest.approx(expected)
    assert sequences(made, "people") == {"seq": {"clip_uar": 1.0, "frames_uar": 0.0, "gain": 1.0}}
    assert by_name["a.png"].frames is None
    path = tmp_path / "run.json"
    path.write_text(json.dumps(made.to_dict()))
    again = read(path)
    assert judge(again).uar == judge(made).uar
    assert [one.key for one in again.rows] == [one.key for one in made.rows]
    assert str(tmp_path) not in path.read_text(), "no path of one machine"
    assert main(["--against", str(path), str(path)]) == 0
    assert "| against the first, paired |  | +0.0 [+0.0, +0.0] |" in capsys.readouterr().out
    path.write_text("{}")
    with pytest.raises(CorruptArtifact, match="expected a run of schema"):
        read(path)
    assert main(["--against", str(path)]) == main([]) == 2


def test_peers_are_means_over_their_crops(folder: Path, tmp_path: Path) -> None:
    samples = find(folder, DFEW, ["seq", "web"])
    listed = [{"set": s.set, "label": s.label, "path": f"/there/{s.path.name}", "crops": []} for s in samples]
    listed[0]["crops"], listed[1]["crops"] = [0, 1], [1]
    scores = [[0.0] * 6 + [1.0], [0.6, *[0.0] * 5, 0.4]]
    (tmp_path / "crops.json").write_text(json.dumps(listed))
    peer_file = {"labels": DFEW, "probabilities": [{"faceapi": own, "human": own[::-1]} for own in scores]}
    (tmp_path / "peers.json").write_text(json.dumps(peer_file))
    first, second = peers.read(tmp_path, samples)
    assert (first.name, second.name) == ("face-api", "FER2013-trained (Human)")
    assert first.rows[0].probabilities == pytest.approx([0.3, 0, 0, 0, 0, 0, 0.7])
    assert first.rows[1].probabilities == pytest.approx(scores[1])
    assert first.rows[2].probabilities is None
    text = table([measure(Fake(WholeDetector()), samples, "fake"), first])
    assert "| web (3) | 75.0 (1 lost) | 50.0 (2 lost) |" in text
    assert "| **mean UAR** | 87.5 | 75.0 |" in text
    # A set that the peers have not seen is none of theirs; one that they have seen in part is an error.
    (tmp_path / "crops.json").write_text(json.dumps(listed[:1]))
    assert len(peers.read(tmp_path, [samples[0], samples[1]])[0].rows) == 1
    (tmp_path / "crops.json").write_text(json.dumps(listed[:2]))
    with pytest.raises(InvalidInput, match=r"seen all of web, b\.png is missing"):
        peers.read(tmp_path, samples)
    with pytest.raises(CorruptArtifact):
        peers.read(folder, samples)


def test_detectors_remember(tmp_path: Path) -> None:
    image = np.full((80, 100, 3), 90, np.uint8)
    detector, points = WholeDetector(), Points()
    faces = RememberingDetector(detector, Memory(tmp_path / "deep/faces.json"))
    marks = RememberingLandmarks(points, Memory(tmp_path / "deep/landmarks.json"))
    box = faces.detect(image)[0].box
    exact = marks.detect(image, box)
    assert faces.detect(image.copy())[0].box == box
    assert faces.detect(np.zeros_like(image)) == []
    faces.memory.save()
    marks.memory.save()
    again = RememberingDetector(detector, Memory(tmp_path / "deep/faces.json"))
    assert again.detect(image)[0].box == box
    assert detector.calls == 2, "an image is looked at once, on disk too"
    second = RememberingLandmarks(points, Memory(tmp_path / "deep/landmarks.json"))
    np.testing.assert_array_equal(second.detect(image, box), exact)
    second.detect(image, box._replace(left=1.0))
    assert points.calls == 2, "another box is another question"


def test_scores_of_landmarks_are_remembered(tmp_path: Path) -> None:
    class Scored(Points):
        def detect_scored(self, image: np.ndarray, box: Any) -> Landmarks | None:
            points = self.detect(image, box)
            return Landmarks(points, 0.25, np.linspace(0, 1, 68, dtype=np.float32)) if box.left >= 0 else None

    image, box = np.full((80, 100, 3), 90, np.uint8), Box(20, 20, 60, 60)
    points = Scored()
    _, marks = remembering(WholeDetector(), points, [image], tmp_path)
    exact, calls = marks.detect_scored(image, box), points.calls
    assert marks.detect_scored(image, box._replace(left=-1.0)) is None
    marks.memory.save()
    assert not isinstance(remembering(WholeDetector(), Points(), [image], tmp_path)[1], ScoredLandmarkDetector)
    again = RememberingScoredLandmarks(points, Memory(next(tmp_path.glob("landmarks-*.json"))))
    found = again.detect_scored(image, box)
    assert found.score == 0.25
    np.testing.assert_array_equal(found.points, exact.points)
    np.testing.assert_array_equal(found.confidence, exact.confidence)
    assert points.calls == calls + 1, "the box outside alone was new"


def test_fingerprints_tell_detectors_apart() -> None:
    class Wider(WholeDetector):
        def detect(self, image: np.ndarray) -> Any:
            return [type(f)(f.box._replace(right=f.box.right + 1), f.score) for f in super().detect(image)]

    images = [np.full((80, 100, 3), 90, np.uint8)]
    plain = fingerprint(WholeDetector(), Points(), images)
    assert plain == fingerprint(WholeDetector(), Points(), images)
    assert plain != fingerprint(Wider(), Points(), images)


def test_crops_are_square_around_the_face(tmp_path: Path) -> None:
    write_image(tmp_path / "web/happy/a.png", 90, 80)
    write_image(tmp_path / "web/sad/dark.png", 5, 80)
    found = crops(find(tmp_path, DFEW), WholeDetector(), Points(), size=52)
    assert found.pixels.shape == (1, 52, 52, 3)
    assert (found.sample.tolist(), found.frame.tolist(), found.lost) == ([0], [0], (1,))
    # s is 20 pixels: the square of 2.6 s is 52 wide, and its centre lies 0.14 s above the middle of eyes and mouth.
    middle = found.points[0, [36, 42, 48, 54]].mean(0)
    np.testing.assert_allclose(middle, [25.5, 25.5 + 2.8], atol=1)
