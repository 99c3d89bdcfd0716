"""Streams whose windows share features: equal to windows computed whole, and each step computed once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfer_edge import Recognizer
from dfer_edge.export import onnx_file as export
from dfer_edge.inference.parts import Streaming
from dfer_edge.live import Options, Session
from dfer_edge.live.scoring import FrameScorer, StepScorer, WholeScorer
from dfer_edge.live.tracking import Watching
from dfer_edge.types import Box, Image, Observation, Points
from dfer_edge.weights import file as weights
from tests.flow.test_streaming import NAMES, Counting, small
from tests.inference import keypoint_cases
from tests.live.fakes import Script, Where

HERE, JUMPED = Box(5, 5, 45, 45), Box(50, 30, 75, 55)
# One leaves and returns; the box of the other jumps.
PEOPLE: Where = {
    0: lambda index: None if 14 <= index < 20 else HERE,
    1: lambda index: HERE if index % 13 < 9 else JUMPED,
}


def image(index: int) -> Image:
    """Light and colour that change from frame to frame: neighbouring windows differ clearly."""
    rng = np.random.default_rng(index)
    return (rng.integers(0, 256, 3) * rng.uniform(0.5, 1, (64, 80, 1))).astype(np.uint8)


class Finder:
    """Landmarks that follow from the pixels; none in a third of the frames."""

    name = "finder"

    def detect(self, image: Image, box: Box) -> Points | None:
        seed = int(image.sum())
        found = keypoint_cases.faces(1, 1, image.shape[0], seed)[0, 0].numpy().astype("f4")
        return None if seed % 3 == 0 else found


def amplify(module: torch.nn.Module) -> None:
    """Logits 30 times as far from those of a grey clip: random weights hardly tell clips apart."""
    last = module.head.classifier
    with torch.no_grad():
        grey = module(torch.zeros(1, *module.spec.input_shape))[0]
        last.bias.copy_(30 * (last.bias - grey))
        last.weight.mul_(30)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of small networks."""
    folder, modules = tmp_path_factory.mktemp("weights"), {name: small(name).float() for name in NAMES}
    amplify(modules["slowr50_sa"])
    return {name: weights.save(folder / f"{name}.safetensors", module) for name, module in modules.items()}


@pytest.fixture(scope="module")
def networks(files: dict[str, Path]) -> Callable[[str], Recognizer]:
    return functools.cache(lambda name: recogniser(name, files[name]))


def recogniser(name: str, path: Path | str) -> Recognizer:
    return Recognizer(
        name, path, "onnxruntime", precision="fp32", detector="haar", threads=1, landmark_detector=Finder()
    )


def run(recognizer: Recognizer, scorer: Any, people: Where = PEOPLE, frames: int = 27) -> list[Observation]:
    network = dataclasses.replace(recognizer._network, scorer=scorer, watching=lambda faces: Watching(Script(people)))
    session = Session(network, Options(hop_s=0, window_s=1.2, smoothing="off", no_face=False))
    late = np.random.default_rng(3).uniform(0, 0.04, frames)
    return [o for k in range(frames) for o in session.push(image(k), k / 10 + float(late[k]))]


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_whole_windows_and_each_step_computed_once(name: str, networks: Callable[[str], Recognizer]) -> None:
    recognizer = networks(name)
    scorer = recognizer._network.scorer
    assert isinstance(scorer, StepScorer)
    features, head = Counting(scorer._features), Counting(scorer._head)
    actual = run(recognizer, StepScorer(features, head))
    expected = run(recognizer, WholeScorer(recognizer._engine))
    assert len(actual) == 48
    assert {o.track_id for o in actual} == {0, 1}
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a.prediction.probabilities, b.prediction.probabilities, atol=1e-5)
        frames = Streaming.of(recognizer.spec).frames_per_step * Streaming.of(recognizer.spec).steps
        assert a.prediction.frame_indices == b.prediction.frame_indices
        assert len(a.prediction.frame_indices) == frames
        assert a.prediction.frame_indices[-1] == a.frame_index
    own = [o.prediction.probabilities for o in expected if o.track_id == 1]
    assert np.median([np.abs(a - b).max() for a, b in itertools.pairwise(own)]) > 1e-4, "hardly differ"
    # One new step a person and frame, all people in one call of each part.
    assert [next(iter(call.values()))[0] for call in features.calls] == [1 if 14 <= k < 20 else 2 for k in range(27)]
    assert len(head.calls) == 27


def test_crowds_are_cut_in_calls_that_fit(networks: Callable[[str], Recognizer]) -> None:
    recognizer = networks("slowr50_sa")
    scorer = recognizer._network.scorer
    assert isinstance(scorer, StepScorer)
    features, head = Counting(scorer._features), Counting(scorer._head)
    crowd: Where = {track_id: lambda index: HERE for track_id in range(10)}
    run(recognizer, StepScorer(features, head), crowd, frames=1)
    assert [next(iter(call.values()))[0] for call in features.calls] == [10]
    assert [next(iter(call.values()))[0] for call in head.calls] == [8, 2]


def test_files_run_whole_and_the_log_says_so_once(
    tmp_path: Path, files: dict[str, Path], networks: Callable[[str], Recognizer], caplog: pytest.LogCaptureFixture
) -> None:
    own = recogniser("smate", export.export_onnx("smate", tmp_path / "own.onnx", files["smate"], form="2d"))
    with caplog.at_level(logging.INFO, "dfer_edge"):
        scorer = own._network.scorer
        assert own._network.scorer is scorer
    assert [record.message.count("an .onnx file has no parts") for record in caplog.records] == [1], "said once"
    assert isinstance(scorer, WholeScorer)
    parts = networks("smate")
    for a, b in zip(run(own, scorer), run(parts, networks("smate")._network.scorer), strict=True):
        np.testing.assert_allclose(a.prediction.probabilities, b.prediction.probabilities, atol=1e-5)


class Images:
    """An engine of single images that counts."""

    takes_pixels = False

    def __init__(self, spec: Any) -> None:
        self.spec, self.rows = spec, 0

    def infer(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.rows += len(feed["image"])
        return {"logits": feed["image"].mean((2, 3)) @ np.ones((3, 7), np.float32) * np.arange(7, dtype=np.float32)}


def test_image_networks_score_each_frame_once(networks: Callable[[str], Recognizer]) -> None:
    recognizer = networks("slowr50_sa")
    engine = Images(dataclasses.replace(recognizer.spec, input="image"))
    found = run(recognizer, FrameScorer(engine), {0: lambda index: HERE}, frames=20)
    assert engine.rows == 20
    alone = run(recognizer, FrameScorer(engine), {0: lambda index: HERE if index == 19 else None}, frames=20)
    assert len(alone) == 1
    # The mean over the frames of a window, not over their logits.
    by_index = {o.frame_index: o.prediction.probabilities for o in found}
    assert not np.allclose(by_index[19], alone[0].prediction.probabilities)
