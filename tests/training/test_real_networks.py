"""A step of each paper's recipe on its real network, and one in bf16: what the tiny network cannot show."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dfer_edge.models import list_models
from dfer_edge.training import find_recipe
from dfer_edge.training.network import build_network
from dfer_edge.training.recipes import Recipe, Schedule
from dfer_edge.training.trainer import Settings, Trainer, seed_everything
from tests.training.tiny import LABELS, tiny_clips

# Over ten seconds each, some of them gigabytes.
pytestmark = pytest.mark.slow


def one_step(recipe: Recipe, stage: int) -> Recipe:
    # The first step of a warm-up has a rate of 0.
    short = dataclasses.replace(recipe.stages[stage], epochs=1, batch=3, start="last", schedule=Schedule())
    return dataclasses.replace(recipe, stages=(short,))


def step(
    network: nn.Module, recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, precision: str = "fp32"
) -> dict[str, Any]:
    """The log's row of a run of one step; writes no weights, which are gigabytes for some."""
    monkeypatch.setattr(Trainer, "save", lambda _: None)
    monkeypatch.setattr(Trainer, "export", lambda *_: None)
    train, val = (tiny_clips(3, seed, frames=16, targets=True) for seed in (0, 1))
    trainer = Trainer(network, train, val, recipe, Settings(out, precision=precision))
    trainer.run()
    assert trainer.progress.updates == 1
    (row,) = trainer.progress.history
    return row


@pytest.mark.parametrize("model", list_models())
def test_a_step_of_the_paper_s_recipe(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = one_step(find_recipe("paper", model), 0)
    seed_everything((0,))
    network = build_network(model, recipe, LABELS)
    first = next(layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Conv3d)))
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear) and layer.out_features == len(LABELS)]
    before = [layer.weight.detach().clone() for layer in (first, *last)]
    row = step(network, recipe, tmp_path, monkeypatch)
    assert math.isfinite(row["loss"])
    assert 0 <= row["val_war"] <= 1
    assert last
    for layer, old in zip((first, *last), before, strict=True):
        assert not torch.equal(layer.weight, old)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_a_step_in_bf16_is_about_that_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the renders recipe, whose weak residuals keep bf16's rounding small; auxiliary heads and all."""
    recipe = one_step(find_recipe("renders", "slowr50_sa").override("stages.size", "32"), 0)
    rows = []
    for precision in ("fp32", "bf16"):
        seed_everything((0,))
        network = build_network("slowr50_sa", recipe, LABELS)
        rows.append(step(network, recipe, tmp_path / precision, monkeypatch, precision))
        assert all(p.dtype == torch.float32 for p in network.parameters())
    fp32, bf16 = rows
    assert {"label", "units", "landmarks"} <= set(fp32)
    for name in ("loss", "label", "units", "landmarks"):
        assert bf16[name] == pytest.approx(fp32[name], rel=0.03), name
        assert bf16[name] != fp32[name], "the step ran in fp32"
