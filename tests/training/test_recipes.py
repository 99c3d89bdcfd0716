"""Recipes are data: what the papers print, overrides, and JSON there and back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from dfer_edge.errors import InvalidInput
from dfer_edge.models import list_models
from dfer_edge.training import find_recipe, list_recipes
from dfer_edge.training.recipes import from_json


def test_every_network_has_its_papers_recipe() -> None:
    assert {find_recipe("paper", model).name for model in list_models()} == set(list_models())


def test_slowr50_sa_has_two_phases_and_the_second_starts_from_the_best() -> None:
    first, second = find_recipe("paper", "slowr50_sa").stages
    assert (first.optimiser.name, first.optimiser.lr, first.optimiser.weight_decay, first.epochs) == (
        "adamw",
        5e-4,
        0.05,
        100,
    )
    assert (second.optimiser.lr, second.optimiser.weight_decay, second.epochs, second.start) == (5e-5, 0.05, 30, "best")


def test_keypoint_tsa() -> None:
    recipe = find_recipe("paper", "keypoint_tsa")
    (stage,) = recipe.stages
    assert (stage.optimiser.name, stage.optimiser.lr, stage.optimiser.betas) == ("adam", 1e-3, (0.9, 0.99))
    assert (stage.schedule.milestones, stage.schedule.factor, stage.epochs, stage.batch) == ((40, 60), 0.1, 80, 64)
    assert recipe.losses.auxiliary == (0.2, 0.8)


def test_paper_002_weighs_classes_and_masks() -> None:
    for model in ("agfer", "sefer", "cbamfer", "vgg16_fer"):
        recipe = find_recipe("paper", model)
        (stage,) = recipe.stages
        assert (stage.optimiser.name, stage.optimiser.lr, stage.batch) == ("sgd", 1e-4, 128)
        assert recipe.losses.class_weights
        assert recipe.losses.guidance == "template"
        assert stage.epochs == 100


def test_papers_001_and_004() -> None:
    smate, r2plus1d = (find_recipe("paper", model) for model in ("smate", "r2plus1d_sta"))
    assert len(smate.stages[0].mixed) == 3
    assert smate.stages[0].mixed[2].lbp == 1
    assert (r2plus1d.stages[0].optimiser.lr, r2plus1d.stages[0].batch) == (1e-3, 32)
    assert r2plus1d.losses.sparse_centre == 1
    assert dict(r2plus1d.options) == {"loss_branch": True}


def test_renders_goes_from_small_images_to_clips() -> None:
    stages = find_recipe("renders", "slowr50_sa").stages
    assert [stage.frames for stage in stages] == [1, 1, 0]
    assert stages[0].size < stages[1].size == stages[2].size == 96
    assert stages[0].centre_taps


@pytest.mark.parametrize("model", list_models())
@pytest.mark.parametrize("name", list_recipes())
def test_json_there_and_back(name: str, model: str) -> None:
    recipe = find_recipe(name, model)
    assert from_json(recipe.to_json()) == recipe


def test_overrides() -> None:
    recipe = find_recipe("renders", "slowr50_sa")
    changed = recipe.override("stages.1.optimiser.lr", "1").override("stages.pixels.resample_scale", "[0.1, 1]")
    assert changed.stages[1].optimiser.lr == 1.0
    assert changed.stages[0].optimiser == recipe.stages[0].optimiser
    assert {stage.pixels.resample_scale for stage in changed.stages} == {(0.1, 1)}
    assert recipe.override("select", "war").select == "war"
    assert recipe.override("stages.0.centre_taps", "false").stages[0].centre_taps is False


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stage", "1", "'stage' is none of name, source, stages"),
        ("stages.9.epochs", "1", "none of 0 to 2"),
        ("stages.0.epochs.x", "1", "'x' is none of no further fields"),
        ("stages.0.epochs", "many", "expected a int for stages.0.epochs, got 'many'"),
        ("stages.0.epochs", "1.5", "expected a int"),
        ("ema", "true", "expected a float"),
        ("losses", "3", "expected a Losses"),
        ("losses", '{"nonsense": 1}', "'nonsense' is unknown or missing"),
        ("stages.0.optimiser.betas", '["a", 1]', "expected a float for stages.0.optimiser.betas, got 'a'"),
        ("stages.0.optimiser.betas", "[0.9]", "expected a list of 2 for stages.0.optimiser.betas"),
        ("stages.0.optimiser.betas", "0.9", "expected a list of 2"),
        ("stages.0.schedule.milestones", "[1.5]", "expected a int for stages.0.schedule.milestones, got 1.5"),
        ("options", '[["dropout"]]', "expected a list of 2 for options"),
    ],
)
def test_bad_overrides(path: str, value: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        find_recipe("renders", "slowr50_sa").override(path, value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', '{"nonsense": 1}'])
def test_bad_json(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a recipe as JSON"):
        from_json(text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("ema",), "much", "expected a float for ema, got 'much'"),
        (("stages", 0, "epochs"), 1.5, "expected a int for epochs, got 1.5"),
        (("stages", 0, "optimiser", "betas"), [0.9, None], "expected a float for betas, got None"),
        (("stages", 0, "crop"), [], "expected a Crop for crop"),
        (("stages",), {}, "expected a list for stages"),
    ],
)
def test_json_of_other_types(path: tuple[str | int, ...], value: object, message: str) -> None:
    """Refused when the recipe is read, not in the middle of a run."""
    document = json.loads(find_recipe("paper", "slowr50_sa").to_json())
    node = document
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    with pytest.raises(InvalidInput, match=message):
        from_json(json.dumps(document))


def test_unknown_names() -> None:
    with pytest.raises(InvalidInput, match="expected a recipe out of paper, renders"):
        find_recipe("best", "slowr50_sa")


def test_recipes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_recipe("renders", "slowr50_sa").ema = 0.0  # type: ignore[misc]
