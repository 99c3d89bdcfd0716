"""Model cards: made from figures, and equal to what is committed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from dfer_edge import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.cli.main import main
from dfer_edge.evaluation.card import SECTIONS, from_folder, model_card
from dfer_edge.evaluation.document import document, read_json, write_json
from dfer_edge.evaluation.jitter import Jitter, MovableDetector
from dfer_edge.evaluation.run import score
from dfer_edge.weights import file as weights
from tests.evaluation.fakes import FakeRecognizer, WholeDetector, data_set, write_image

TRAINING = {"about": "A fake for tests.", **{key: f"the {key}" for key in SECTIONS}, "limits": ["one", "two"]}


@pytest.fixture
def evaluation(tmp_path: Path) -> dict[str, Any]:
    detector = MovableDetector(WholeDetector())
    data = data_set((write_image(tmp_path / "a.png", 30), 0), (write_image(tmp_path / "b.png", 30), 1))
    found = score(FakeRecognizer(detector), detector, data, Jitter(2))
    run = {"label": "happy", "first": 3, "last": 9}
    video = {"source": "v.mp4", "column": "onnxruntime/fp32", "tolerance_frames": 8, "wrong_frames": [], "runs": [run]}
    return document([found], data, Jitter(2)) | {"timeline": [{**video, "expected": [run], "as_expected": True}]}


def test_numbers_come_from_the_evaluation(evaluation: dict[str, Any]) -> None:
    card = model_card(TRAINING, [evaluation])
    assert "| onnxruntime/fp32 | 50.0 % | 50.0 % |" in card
    assert "| happy | 1 | 100.0 % |" in card
    assert "| sad | 1 | 0.0 % |" in card
    assert "| fear | 0 | - |" in card
    assert "Moved boxes: 2 a sample" in card
    assert "happy 3-9. Expected happy 3-9: as expected (within 8 frames of a change)" in card
    assert "ab" * 32 in card
    assert "- one\n- two" in card
    for heading in SECTIONS.values():
        assert f"\n## {heading}\n" in card
    changed = copy.deepcopy(evaluation)
    changed["columns"][0]["metrics"]["war"] = 0.25
    assert model_card(TRAINING, [changed]) != card
    assert "landmarks" not in card
    changed["protocol"] |= {"face_box": "landmarks", "landmark_detector": "points68"}
    laid = model_card(TRAINING, [changed])
    assert "detector whole, face boxes laid by points68." in laid
    assert "seed 0; then landmarks lay them anew." in laid


def test_random_weights_are_marked(evaluation: dict[str, Any]) -> None:
    note = "random weights: labels are meaningless"
    assert note in model_card(TRAINING, [evaluation | {"note": note}])


def test_what_does_not_belong_together(evaluation: dict[str, Any]) -> None:
    other = evaluation | {"weights": {**evaluation["weights"], "sha256": "cd" * 32}}
    for evaluations in ([], [evaluation, other]):
        with pytest.raises(InvalidInput, match="one weights file"):
            model_card(TRAINING, evaluations)
    for key in TRAINING:
        with pytest.raises(InvalidInput, match=f"{key} is missing"):
            model_card({**TRAINING, key: ""}, [evaluation])


def test_command_and_files(evaluation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "card", str(tmp_path), "net"]) == 1
    assert "net.training.json and net.evaluation*.json" in capsys.readouterr().err
    (tmp_path / "net.training.json").write_text(json.dumps(TRAINING))
    write_json(tmp_path / "net.evaluation.stills.json", evaluation)
    assert main(["models", "card", str(tmp_path), "net"]) == 0
    assert (tmp_path / "net.md").read_text() == model_card(TRAINING, [evaluation])
    for name, content in (("net.training.json", "{"), ("net.training.json", "[]"), ("net.evaluation.stills.json", "1")):
        (tmp_path / name).write_text(content)
        with pytest.raises(CorruptArtifact):
            from_folder(tmp_path, "net")
        (tmp_path / "net.training.json").write_text(json.dumps(TRAINING))
    write_json(tmp_path / "net.evaluation.stills.json", {"schema": "else/1"})
    with pytest.raises(CorruptArtifact, match="schema"):
        read_json(tmp_path / "net.evaluation.stills.json")
    with pytest.raises(WeightsNotFound):
        from_folder(tmp_path, "other")


def test_committed_cards_are_the_generated_ones() -> None:
    cards = sorted(weights.SHIPPED.glob("*.md")) if weights.SHIPPED.is_dir() else []
    files = sorted(weights.SHIPPED.glob("*.safetensors")) if weights.SHIPPED.is_dir() else []
    assert {path.stem for path in cards} == {path.stem for path in files}, "each shipped network has a card"
    for card in cards:
        assert card.read_text(encoding="utf-8") == from_folder(card.parent, card.stem)
        (evaluation, *_) = sorted(card.parent.glob(f"{card.stem}.evaluation*.json"))
        shipped = weights.load(card.with_suffix(".safetensors"))
        assert read_json(evaluation)["weights"]["sha256"] == shipped.sha256
