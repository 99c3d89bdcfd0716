"""Paper 002's recipe learns: printed optimiser, rate and loss, on a small set."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.models import vgg
from dfer_edge.training.optimise import build_optimisers
from dfer_edge.training.table import find_recipe


def loss_after(model: str, steps: int, monkeypatch: pytest.MonkeyPatch, start: str, std: float) -> float:
    """Of 7 images whose stripes tell the class; the rest of the recipe as printed."""
    monkeypatch.setattr(vgg, "FC_WIDTH", 64)
    torch.manual_seed(0)
    spec = dataclasses.replace(registry.find(model).spec, size=16, std=(std, std, std))
    network = vgg.create(spec, start=start, dropout=0.0).train()
    recipe = find_recipe("paper", model)
    (optimiser,) = build_optimisers(network, recipe.stages[0].optimiser, recipe.losses, 7)
    labels, across = torch.arange(7), np.arange(16) / 3
    rng = np.random.default_rng(0)
    levels = 60 * np.sin(across * (1 + labels.numpy()[:, None, None, None])) + rng.normal(0, 10, (7, 3, 16, 16))
    images = torch.tensor(levels / 255 / std, dtype=torch.float32)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def test_the_printed_recipe_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loss_after("vgg16_fer", 20, monkeypatch, "he", registry.find("vgg16_fer").spec.std[0]) < 0.5 * math.log(7)


@pytest.mark.slow
def test_the_printed_recipe_learns_through_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three gates that halve what passes learn at a fifth of the pace."""
    assert loss_after("agfer", 150, monkeypatch, "he", registry.find("agfer").spec.std[0]) < 0.75 * math.log(7)


def test_the_scale_and_the_start_of_before_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deviation 1 and Glorot: the loss stays at ln 7."""
    assert loss_after("agfer", 12, monkeypatch, "glorot", 0.225) > 0.999 * math.log(7)


def test_biases_are_not_decayed() -> None:
    """BiasL2Factor is 0 in MATLAB."""
    network = torch.nn.Linear(3, 2)
    recipe = find_recipe("paper", "sefer")
    (optimiser,) = build_optimisers(network, recipe.stages[0].optimiser, recipe.losses, 128)
    decays = {p: group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert (decays[network.weight], decays[network.bias]) == (1e-4, 0.0)


def test_a_start_that_there_is_not() -> None:
    with pytest.raises(InvalidInput, match="start out of he, glorot; got 'zeros'"):
        vgg.create(dataclasses.replace(registry.find("agfer").spec, size=32), start="zeros")
