"""Scoring: stills as clips, moved boxes, faces that are not found, files that do not read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import InvalidInput
from dfer_edge.evaluation.document import document, jitter_metrics, read_json, write_json
from dfer_edge.evaluation.jitter import Jitter, MovableDetector, Move
from dfer_edge.evaluation.run import Column, score, together
from dfer_edge.types import Box
from tests.evaluation.fakes import FakeRecognizer, WholeDetector, data_set, write_image


@pytest.fixture
def stills(tmp_path: Path) -> dict[str, Path]:
    levels = {"happy_1.png": 30, "sad_1.png": 60, "sad_2.png": 30, "sad_dark.png": 5}
    paths = {name: write_image(tmp_path / name, level) for name, level in levels.items()}
    (tmp_path / "happy_cut.png").write_bytes(paths["happy_1.png"].read_bytes()[:40])
    return {**paths, "happy_cut.png": tmp_path / "happy_cut.png", "sad_gone.png": tmp_path / "sad_gone.png"}


def column(stills: dict[str, Path], jitter: Jitter | None = None, **options: str) -> Column:
    detector = MovableDetector(WholeDetector())
    data = data_set(*((path, int(name.startswith("sad"))) for name, path in stills.items()))
    return score(FakeRecognizer(detector, **options), detector, data, jitter)


# -- moves --------------------------------------------------------------------------------------------------------


def test_a_move_by_hand() -> None:
    moved = Move(right=0.1, down=-0.05, factor=2).apply(Box(10, 20, 30, 60))
    # Centre (20, 40), longer side 40: to (24, 38); sides 20 x 40 become 40 x 80.
    assert moved == pytest.approx(Box(4, -2, 44, 78))
    assert Move(0, 0, 1).apply(Box(1, 2, 3, 5)) == Box(1, 2, 3, 5)


def test_moves_stay_in_their_range_and_fill_it() -> None:
    jitter = Jitter(4000, shift=0.06, scale=0.1, seed=3)
    moves = jitter.moves("a.jpg")
    for values, bound in (([m.right for m in moves], 0.06), ([math.log(m.factor) for m in moves], 0.1)):
        assert max(map(abs, values)) <= bound
        # A uniform distribution: mean 0, standard deviation bound / sqrt(3).
        assert np.mean(values) == pytest.approx(0, abs=0.05 * bound)
        assert np.std(values) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_moves_depend_on_seed_and_name_only() -> None:
    assert Jitter(5, seed=1).moves("a") == Jitter(5, seed=1).moves("a")
    assert Jitter(5, seed=1).moves("a") == Jitter(9, seed=1).moves("a")[:5]
    assert Jitter(5, seed=1).moves("a") != Jitter(5, seed=2).moves("a")
    assert Jitter(5, seed=1).moves("a") != Jitter(5, seed=1).moves("b")


def test_detector_runs_once_an_image() -> None:
    inner = WholeDetector()
    detector, image = MovableDetector(inner), np.full((40, 40, 3), 99, np.uint8)
    plain = detector.detect(image)
    detector.move = Move(0.5, 0, 1)
    (moved,) = detector.detect(image)
    assert inner.calls == 1
    assert moved.box == Box(20, 10, 40, 30)
    detector.move = None
    assert detector.detect(image) == plain
    detector.detect(image.copy())
    assert inner.calls == 2


# -- scoring ------------------------------------------------------------------------------------------------------


def test_what_is_lost_is_listed(stills: dict[str, Path]) -> None:
    found = column(stills)
    assert [sample.name for sample in found.scored] == ["happy_1.png", "sad_1.png", "sad_2.png"]
    assert [(sample.name, sample.truth) for sample in found.lost] == [("sad_dark.png", 1)]
    assert set(found.unreadable) == {"happy_cut.png", "sad_gone.png"}
    assert str(stills["sad_gone.png"].parent) not in str(found.unreadable)
    assert found.probabilities.argmax(1).tolist() == [0, 1, 0]
    assert found.engine_ms == 2.0


def test_stills_are_clips_of_equal_frames(stills: dict[str, Path]) -> None:
    detector = MovableDetector(WholeDetector())
    recognizer = FakeRecognizer(detector)
    score(recognizer, detector, data_set((stills["sad_1.png"], 1)))
    (source,) = recognizer.sources
    assert len(source) == 8
    assert all(frame is source[0] for frame in source)


def test_jitter_moves_the_boxes_and_lets_go(stills: dict[str, Path]) -> None:
    detector = MovableDetector(WholeDetector())
    jitter = Jitter(6, seed=1)
    found = score(FakeRecognizer(detector), detector, data_set((stills["sad_1.png"], 1)), jitter)
    assert found.jittered.shape == (1, 6, 7)
    # The fake is surer of larger boxes: confidence follows the drawn scale.
    expected = [0.5 + 0.5 * move.factor / 2 for move in jitter.moves("sad_1.png")]
    np.testing.assert_allclose(found.jittered[0, :, 1], expected, rtol=1e-6)
    assert detector.move is None
    assert found.probabilities[0, 1] == pytest.approx(0.75)


def test_jitter_lets_go_after_an_error(stills: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    detector = MovableDetector(WholeDetector())
    recognizer = FakeRecognizer(detector)
    plain = recognizer.predict

    def fails(source: object, faces: str = "detect") -> object:
        if detector.move:
            raise RuntimeError("engine")
        return plain(source, faces)

    monkeypatch.setattr(recognizer, "predict", fails)
    with pytest.raises(RuntimeError):
        score(recognizer, detector, data_set((stills["sad_1.png"], 1)), Jitter(2))
    assert detector.move is None


def test_nothing_scored_says_why(stills: dict[str, Path]) -> None:
    detector = MovableDetector(WholeDetector())
    data = data_set((stills["sad_dark.png"], 1), (stills["sad_gone.png"], 1))
    with pytest.raises(InvalidInput, match=r"one of 2 samples.*no face in 1, 1 unreadable, first: .*sad_gone"):
        score(FakeRecognizer(detector), detector, data)
    with pytest.raises(InvalidInput, match="cropped"):
        score(FakeRecognizer(detector), detector, data, Jitter(2), faces="cropped")


def test_columns_are_of_the_same_samples(stills: dict[str, Path]) -> None:
    whole = column(stills)
    part = whole.of(["sad_2.png", "happy_1.png"])
    first, second = together([whole, part])
    assert [s.name for s in first.scored] == [s.name for s in second.scored] == ["happy_1.png", "sad_2.png"]
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    with pytest.raises(InvalidInput, match="all of"):
        together([whole.of(["sad_1.png"]), part])


# -- the document -------------------------------------------------------------------------------------------------


def test_document(stills: dict[str, Path], tmp_path: Path) -> None:
    first = column(stills, Jitter(3))
    second = column(stills, Jitter(3), precision="bf16")
    second.probabilities[1] = np.roll(second.probabilities[1], 1)
    data = data_set(*((path, int(name.startswith("sad"))) for name, path in stills.items()))
    made = document([first, second], data, Jitter(3), [first, second], "other")
    write_json(tmp_path / "e.json", made)
    assert read_json(tmp_path / "e.json") == made
    assert made["schema"] == "dfer_edge.evaluation/1"
    assert (made["data"]["samples"], made["data"]["scored"]) == (6, 3)
    assert made["data"]["no_face"] == ["sad_dark.png"]
    one, two = made["columns"]
    # happy 1 of 1; sad 1 of 3, of which one shows no face.
    assert one["metrics"]["war"] == pytest.approx(2 / 4)
    assert one["metrics"]["uar"] == pytest.approx((1 + 1 / 3) / 2)
    assert (one["metrics"]["samples"], one["metrics"]["lost"]) == (4, 1)
    assert one["war_of_found_faces"] == pytest.approx(2 / 3)
    assert made["protocol"]["faces"] == {"detected": 3, "face crops": 0}
    assert (one["agreement_with_first"], two["agreement_with_first"]) == (1.0, pytest.approx(2 / 3))
    assert two["largest_difference_to_first"] == pytest.approx(0.75 - 0.25 / 6)
    assert one["calibrated"]["log_loss"] <= one["metrics"]["log_loss"] + 1e-9
    assert {"numpy", "processor", "date", "dfer_edge", "commit"} <= set(made["provenance"])
    names = [prediction["name"] for prediction in made["predictions"]]
    assert names == ["happy_1.png", "sad_1.png", "sad_2.png"]
    assert str(tmp_path) not in str(made)


def test_jitter_metrics_by_hand() -> None:
    sure, wrong = [0.8, 0.2], [0.4, 0.6]
    jittered = np.array([[sure, sure], [sure, wrong]])
    found = jitter_metrics(np.array([0, 0]), jittered)
    assert (found["war_mean"], found["war_lowest"], found["war_highest"]) == (0.75, 0.5, 1.0)
    assert found["log_loss_mean"] == pytest.approx(-(3 * math.log(0.8) + math.log(0.4)) / 4)
    assert found["steady"] == 0.5
    assert found["recall"] == [0.75, None]
