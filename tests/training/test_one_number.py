"""One weights file on one data set: the log of training, `evaluate` and `predict` say the same of each sample."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dfer_edge import Recognizer
from dfer_edge.evaluation import Plan, evaluate
from dfer_edge.faces import for_network
from dfer_edge.inference import registry
from dfer_edge.spec import SAMPLINGS, ModelSpec
from dfer_edge.training import validate
from dfer_edge.training.data import opening
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.listing import Entry, ListedClips
from dfer_edge.training.data.registry import Layout
from dfer_edge.training.loader import Reader, read_batches, validation_keys
from dfer_edge.training.network import build_network
from dfer_edge.training.objective import Objective
from dfer_edge.training.recipes import Crop, Losses, Recipe, Sampling, Stage
from dfer_edge.training.table import find_recipe
from dfer_edge.weights import file as weights

LABELS = ("happy", "sad", "angry")
# Frames of a face crop of 90 x 80 pixels: fewer than the network reads, odd, and many.
LENGTHS = (3, 11, 40)
# Small enough for a test, in each family; sizes at which two crops differ.
SMALL = {
    "slowr50_sa": {"size": 40, "frames": 4},
    "smate": {"size": 32, "frames": 5, "options": {"spatial_depth": 1, "temporal_depth": 1}},
    "agfer": {"size": 32, "frames": 3},
    "keypoint_tsa": {"size": 48, "frames": 4},
    "r2plus1d_sta": {"size": 32, "frames": 4},
}
# Of the classifier's random weights: features of fresh networks differ little between clips.
SPREAD = {"agfer": 0.4, "slowr50_sa": 40}
RULES = {
    "slowr50_sa": "segments",
    "smate": "stride",
    "agfer": "random",
    "keypoint_tsa": "pairs",
    "r2plus1d_sta": "random",
}


@pytest.fixture
def faces(tmp_path: Path, astronaut_frames: list[np.ndarray]) -> Path:
    """Clips of a face crop that gets brighter and darker and moves."""
    for number, length in enumerate(LENGTHS):
        folder = tmp_path / "data" / f"clip{number}"
        folder.mkdir(parents=True)
        for index in range(length):
            frame = astronaut_frames[0].astype(np.float32) * (0.4 + 0.6 * np.cos(index + number) ** 2)
            face = frame[30 + index % 7 : 120 + index % 7, 90 + number : 170 + number]
            cv2.imwrite(str(folder / f"{index:03d}.png"), face[..., ::-1])
    return tmp_path / "data"


def layout(folder: Path, cropper: FaceCropper | None) -> ListedClips:
    entries = [Entry(folder / f"clip{number}", LABELS[number]) for number in range(len(LENGTHS))]
    return ListedClips("fake", LABELS, entries, cropped=True, cropper=cropper)


def three_numbers(
    model: str, recipe: Recipe, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch, **spec: object
) -> list[np.ndarray]:
    """Probabilities [3, K] of validation, `evaluate` and `predict` by one weights file."""
    torch.manual_seed(3)
    base = registry.find(model).spec
    options = {**base.options, **dict(SMALL[model].get("options", {}))}  # type: ignore[call-overload]
    small = {key: value for key, value in SMALL[model].items() if key != "options"}
    entry = dataclasses.replace(registry.find(model), spec=dataclasses.replace(base, options=options, **small, **spec))
    monkeypatch.setitem(registry._ENTRIES, model, entry)
    network = build_network(model, recipe, LABELS)
    for module in network.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features == len(LABELS):
            torch.nn.init.normal_(module.weight, std=SPREAD.get(model, 2) * module.in_features**-0.5)
    weights.save(path, network)
    own: ModelSpec = network.spec  # type: ignore[assignment]
    detector, landmarks = for_network(own, "haar")
    cropper = FaceCropper(own, detector, landmarks)
    reader = Reader(layout(folder, cropper), own, recipe.stages[-1])
    objective = Objective(network, Losses())
    found = validate.evaluate(objective, read_batches(reader, validation_keys(3, 2), 0), lambda batch: batch)
    monkeypatch.setitem(opening.LAYOUTS, "fake", Layout(1, lambda root, fold, cropper: (None, layout(root, cropper))))
    result = evaluate(
        Plan(model, f"fake:{folder}", path, engines=("onnxruntime",), precisions=("fp32",), detector="haar")
    )
    evaluated = np.array([next(iter(p["probabilities"].values())) for p in result.content["predictions"]])
    assert result.content["protocol"]["faces"] == {"detected": 0, "face crops": 3}
    assert result.content["columns"][0]["metrics"]["war"] == pytest.approx(found.scores()["war"])
    recognizer = Recognizer(model, path, engine="onnxruntime", precision="fp32", detector="haar")
    predicted = [recognizer.predict(folder / f"clip{n}", faces="cropped").probabilities for n in range(3)]
    return [found.probabilities, evaluated, np.array(predicted)]


def assert_the_same(numbers: list[np.ndarray]) -> None:
    first, *others = numbers
    assert np.ptp(first, axis=0).max() > 1e-3, "clips that all look alike prove nothing"
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-4)


@pytest.mark.parametrize("model", SMALL)
def test_papers_recipes(model: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's own crop and sampling are those of inference."""
    recipe = find_recipe("paper", model)
    assert recipe.stages[0].sampling.name == RULES[model]
    assert_the_same(three_numbers(model, recipe, faces, tmp_path / "w.safetensors", monkeypatch))


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        pytest.param(model, rule, marks=() if model == "smate" else pytest.mark.slow)
        for model in SMALL
        for rule in SAMPLINGS
    ],
)
def test_each_family_with_each_rule_of_sampling(
    model: str, rule: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = int(SMALL[model]["size"])  # type: ignore[call-overload]
    stage = Stage(1, 1, find_recipe("paper", "smate").stages[0].optimiser, sampling=Sampling(stride=3))
    crop = Crop(around="resize", resize=round(size / 0.8))
    recipe = Recipe("rule", "tests", (dataclasses.replace(stage, crop=crop),), sampling=rule)
    assert_the_same(three_numbers(model, recipe, faces, tmp_path / "w.safetensors", monkeypatch))
    spec = weights.load(tmp_path / "w.safetensors").spec
    assert (spec.sampling, spec.stride, spec.crop_share) == (rule, 3, 0.8)


def test_binary_patterns_are_read_at_inference_too(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_recipe("paper", "smate")
    plain = three_numbers("smate", recipe, faces, tmp_path / "a.safetensors", monkeypatch)
    monkeypatch.undo()
    patterns = three_numbers("smate", recipe, faces, tmp_path / "b.safetensors", monkeypatch, pixels="lbp")
    assert_the_same(patterns)
    assert np.abs(plain[0] - patterns[0]).max() > 1e-3
