"""Clips that begin later, and pixels that work against their class: by hand, and through an evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dfer_edge import InvalidInput, NoFaceFound
from dfer_edge.errors import DferError
from dfer_edge.evaluation import Plan, evaluate
from dfer_edge.evaluation.data import Sample
from dfer_edge.evaluation.probes import by_level, by_start, from_later, perturbed, training_form
from dfer_edge.flow import preprocess
from dfer_edge.inference import registry
from dfer_edge.inference.keypoint_graph import mean_shape
from dfer_edge.models import create_model
from dfer_edge.training.data.samples import ClipSource
from dfer_edge.weights import file as weights
from tests.evaluation.fakes import SPEC, clip
from tests.evaluation.test_explain import Linear3d

SMALL = dataclasses.replace(SPEC, frames=2, size=8, labels=("happy", "sad"))


def frames_of(*levels: int) -> list[np.ndarray]:
    return [np.full((4, 4, 3), level, np.uint8) for level in levels]


def test_a_clip_that_begins_later() -> None:
    points = np.arange(8 * 68 * 2, dtype=np.float32).reshape(8, 68, 2)
    whole = ClipSource(frames_of(*range(8)), True, points)
    for start, first in ((0.0, 0), (0.25, 2), (1 / 3, 2), (0.5, 4), (0.99, 7)):
        found = from_later(whole, start)
        assert [int(frame[0, 0, 0]) for frame in found.source] == list(range(first, 8))
        np.testing.assert_array_equal(found.landmarks, points[first:])
        assert found.cropped


class Middle:
    """Says the class that is the level of the middle frame; no face in black clips."""

    spec = SMALL

    def predict(self, frames: list[Any], faces: str) -> Any:
        assert faces == "cropped"
        level = int(frames[len(frames) // 2][0, 0, 0])
        if level > 1:
            raise NoFaceFound("no face")
        return SimpleNamespace(probabilities=np.eye(2, dtype=np.float32)[level])


def sample(name: str, truth: int, *levels: int) -> Sample:
    return Sample(name, Path(name), truth, lambda: ClipSource(frames_of(*levels), True))


def test_what_an_early_start_hides() -> None:
    """Of a face that changes late the middle is neutral, until the start is left out."""
    samples = [
        sample("late", 1, 0, 0, 0, 0, 0, 0, 1, 1),
        sample("lost", 0, *[9] * 8),
        Sample("a.png", Path("a.png"), 0),
    ]
    rows = by_start(Middle(), samples, (0.0, 0.5), "auto")  # type: ignore[arg-type]
    # One of two: the lost face counts as wrong, the still is no clip.
    assert [(row["start"], row["samples"], row["war"]) for row in rows] == [(0.0, 2, 0.0), (0.5, 2, 0.5)]
    with pytest.raises(InvalidInput, match="share of 0 to below 1, got 1"):
        by_start(Middle(), samples, (1.0,), "auto")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="got none of 1 samples"):
        by_start(Middle(), samples[1:2], (0.0,), "auto")  # type: ignore[arg-type]


def test_a_step_against_the_class_by_its_definition() -> None:
    """Of a linear network the loss of one class of two grows along the difference of their weights."""
    module, shown = Linear3d(), clip(2, 8)
    module.spec = SMALL  # type: ignore[assignment]
    found = perturbed(module, shown, SMALL, 0, (0, 3, 200))
    away = torch.sign(module.weight[1] - module.weight[0]).numpy()
    for row, levels in zip(found, (0, 3, 200), strict=True):
        # Pixels stay within black and white.
        pixels = np.clip(shown.frames.astype(np.float64) + levels * away, 0, 255) / 255
        logits = (pixels.mean((0, 1, 2)) - SMALL.mean) / SMALL.std @ module.weight.T.double().numpy()
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(row, expected, atol=1e-5)
    rows = by_level(module, [shown], [0], SMALL, (0, 3))
    assert [row["levels"] for row in rows] == [0, 3]
    with pytest.raises(InvalidInput, match="0 to 255 levels, got -1"):
        by_level(module, [shown], [0], SMALL, (-1,))
    with pytest.raises(InvalidInput, match="reads lbp"):
        perturbed(module, shown, dataclasses.replace(SMALL, pixels="lbp"), 0, (1,))


@pytest.mark.parametrize(
    ("model", "small"),
    [
        ("r2plus1d_sta", {"size": 16, "frames": 2}),
        ("agfer", {"size": 16, "frames": 2}),
        ("keypoint_tsa", {"size": 16, "frames": 2}),
    ],
)
def test_every_kind_of_input_moves_against_the_class(model: str, small: dict[str, int]) -> None:
    """Networks of clips, of images, and of landmarks: the true class loses, and nothing moves at level 0."""
    torch.manual_seed(0)
    spec = dataclasses.replace(registry.find(model).spec, **small)
    module = registry.find(model).training().create(spec).eval()
    shown = clip(spec.frames, spec.size)
    if spec.landmarks:
        shown = dataclasses.replace(shown, landmarks=np.tile(np.float32(16 * mean_shape()), (2, 1, 1)))
    still, moved = perturbed(module, shown, spec, 2, (0, 1))
    with torch.inference_mode():
        logits = module(*[torch.from_numpy(value) for value in preprocess.to_feed([shown], spec).values()])
    np.testing.assert_allclose(still, logits.double().softmax(1).mean(0).numpy(), atol=1e-5)
    assert moved[2] < still[2]


def test_random_weights_and_onnx_files_have_no_gradient(tmp_path: Path) -> None:
    with pytest.raises(DferError, match="random weights have no training form"):
        training_form(SPEC, "random")
    with pytest.raises(DferError, match="inference form"):
        training_form(SPEC, tmp_path / "a.onnx")


def test_through_an_evaluation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module = create_model("r2plus1d_sta", class_names=("happy", "sad"))
    spec = dataclasses.replace(module.spec, size=16, frames=2)
    weights.save(tmp_path / "w.safetensors", registry.find("r2plus1d_sta").training().create(spec))
    for label in spec.labels:
        (tmp_path / "data" / label / "clip").mkdir(parents=True)
        for number in range(4):
            picture = rng.integers(0, 256, (20, 20, 3), np.uint8)
            assert cv2.imwrite(str(tmp_path / "data" / label / "clip" / f"{number}.png"), picture)
    plan = Plan(
        "r2plus1d_sta",
        tmp_path / "data",
        tmp_path / "w.safetensors",
        engines=("onnxruntime",),
        precisions=("fp32",),
        detector="haar",
        faces="cropped",
        starts=(0, 0.5),
        perturb=(0, 40),
    )
    content = evaluate(plan).content
    own = content["columns"][0]["metrics"]
    starts, perturbed_rows = content["probes"]["starts"], content["probes"]["perturbed"]
    assert [row["samples"] for row in (*starts, *perturbed_rows)] == [2] * 4
    assert starts[0]["war"] == perturbed_rows[0]["war"] == own["war"]
    assert perturbed_rows[1]["war"] <= own["war"]
