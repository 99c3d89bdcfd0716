"""Labels over time: on which frame a change is seen, and what counts as wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import InvalidInput, Recognizer
from dfer_edge.evaluation.timeline import Run, check, frame_labels, label_runs, parse_run, wrong_frames
from dfer_edge.live.scoring import WholeScorer
from tests.videos import marked, write_video

Infer = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def test_runs() -> None:
    assert label_runs(["a", "a", "b", "a"]) == [Run("a", 0, 1), Run("b", 2, 2), Run("a", 3, 3)]
    assert label_runs([]) == []


def test_wrong_frames_by_hand() -> None:
    expected = [Run("neutral", 0, 16), Run("happy", 22, 69)]
    right = ["neutral"] * 19 + ["happiness"] * 51 + ["neutral"] * 2
    assert wrong_frames(right, expected, 8) == []
    # Frames 0 to 8 and 30 to 61 are checked: 8 late or early is forgiven, 9 is not.
    late = ["neutral"] * 30 + ["happy"] * 32 + ["neutral"] * 10
    assert wrong_frames(late, expected, 8) == []
    assert wrong_frames(["neutral", *late][:-1], expected, 8) == [30]
    early = ["neutral"] * 8 + ["happy"] * 64
    assert wrong_frames(early, expected, 8) == [8]
    assert wrong_frames(["happy"] * 72, expected, 0) == list(range(17))


def test_ends_of_the_video_are_no_changes() -> None:
    assert wrong_frames(["a", "b", "b", "b"], [Run("b", 0, 3)], 2) == [0]
    assert wrong_frames(["b", "b", "b", "a"], [Run("b", 0, 3)], 2) == [3]


@pytest.mark.parametrize(("run", "tolerance"), [(Run("a", 2, 4), 0), (Run("a", 0, 1), 2), (Run("a", -1, 2), 0)])
def test_runs_that_cannot_be_checked(run: Run, tolerance: int) -> None:
    with pytest.raises(InvalidInput, match="expected runs"):
        wrong_frames(["a"] * 4, [run], tolerance)


@pytest.mark.parametrize("text", ["happy", "happy:3", "happy:9-3", ":1-2", "happy:-1-3", "happy:1-x"])
def test_parse(text: str) -> None:
    assert parse_run("very low:0-16") == Run("very low", 0, 16)
    with pytest.raises(InvalidInput, match="LABEL:FIRST-LAST"):
        parse_run(text)


def answers_with(monkeypatch: pytest.MonkeyPatch, recognizer: Recognizer, infer: Infer) -> None:
    """Let ``infer`` answer for the whole network, in streams too: no part of it runs."""
    monkeypatch.setattr(recognizer._engine, "infer", infer)
    network = dataclasses.replace(recognizer._network, scorer=WholeScorer(recognizer._engine))
    monkeypatch.setitem(recognizer.__dict__, "_network", network)


def test_a_change_is_seen_on_its_frame(recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of a window is its centre's level: a threshold on it changes the label at a known frame."""
    video = write_video(tmp_path / "v.mp4", [40 * index for index in range(40)])
    spec = recognizer.spec
    level = (float(marked(23).mean()) / 255 - spec.mean[0]) / spec.std[0]

    def infer(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        bright = feed["clip"].mean((1, 2, 3, 4)) > level
        return {"logits": np.where(bright[:, None], np.eye(7)[0], np.eye(7)[2]).astype(np.float32) * 5}

    answers_with(monkeypatch, recognizer, infer)
    labels = frame_labels(recognizer, video, window_s=0.4, hop_s=0.04, faces="cropped")
    assert len(labels) == 40
    before, after = label_runs(labels)
    assert (before.label, after.label) == ("neutral", "happy")
    assert abs(after.first - 24) <= 1


def test_check_on_a_real_face(media: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document of a real video; the network says happy throughout."""
    always = np.eye(7)[:1].astype(np.float32) * 9
    answers_with(monkeypatch, recognizer, lambda feed: {"logits": np.repeat(always, len(feed["clip"]), 0)})
    runs = [Run("neutral", 0, 16), Run("happy", 22, 69)]
    found = check(recognizer, media / "video" / "single_face.mp4", runs)
    assert found["source"] == "single_face.mp4"
    assert found["runs"] == [{"label": "happy", "first": 0, "last": 71}]
    assert found["wrong_frames"] == list(range(9))
    assert not found["as_expected"]
