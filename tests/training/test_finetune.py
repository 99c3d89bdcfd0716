"""Twenty clips of one's own on the shipped weights, by plain flags: better than before, and still the same network."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge.cli.main import main
from dfer_edge.evaluation import Plan, evaluate
from dfer_edge.training.table import find_recipe
from dfer_edge.training.trainer import Settings, Trainer
from dfer_edge.weights import file as weights
from tests.training.tiny import tiny_clips, tiny_net, tiny_recipe


def own_clips(folder: Path, frames: list[np.ndarray], part: str, count: int) -> None:
    """Face crops of 90 x 80 pixels: as they are named happy, upside down named sad."""
    rng = np.random.default_rng(len(part))
    for label, step in (("happy", 1), ("sad", -1)):
        for number in range(count):
            place = folder / part / label / f"clip{number}"
            place.mkdir(parents=True)
            left, light = int(rng.integers(84, 96)), float(rng.uniform(0.7, 1.0))
            for index in range(3):
                face = (frames[index][30:120, left : left + 80] * light).astype(np.uint8)[::step]
                cv2.imwrite(str(place / f"{index}.png"), face[..., ::-1])


@pytest.mark.slow
def test_twenty_own_clips_on_the_shipped_weights(tmp_path: Path, astronaut_frames: list[np.ndarray]) -> None:
    own_clips(tmp_path / "data", astronaut_frames, "train", 10)
    own_clips(tmp_path / "data", astronaut_frames, "val", 3)
    words = ["train", "slowr50_sa", "--data", f"folder:{tmp_path / 'data'}", "--faces", "cropped", "--init", "default"]
    words += ["--epochs", "3", "--lr", "3e-4", "--workers", "0", "--threads", "1", "--precision", "fp32"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    found, shipped = weights.load(tmp_path / "out/best.safetensors").spec, weights.resolve("slowr50_sa", "default").spec
    assert found == shipped, "size, margin, box rule, crop, pixels, sampling and classes stay"
    rows = list(csv.DictReader((tmp_path / "out/log.csv").open()))
    assert rows[0]["epoch"] == "0", "the start is validated first"
    best = min(float(row["val_log_loss"]) for row in rows)
    assert best < 0.8 * float(rows[0]["val_log_loss"])
    # The number of the log is that of `evaluate` on the written file.
    plan = Plan(
        "slowr50_sa",
        f"folder:{tmp_path / 'data'}",
        tmp_path / "out/best.safetensors",
        engines=("onnxruntime",),
        precisions=("fp32",),
        faces="cropped",
    )
    metrics = evaluate(plan).content["columns"][0]["metrics"]
    assert metrics["log_loss"] == pytest.approx(best, abs=2e-3)


def test_a_start_that_nothing_improves_on_is_what_is_written(tmp_path: Path) -> None:
    recipe = tiny_recipe(keeps_start=True, select="log_loss", ema=0.0).override("stages.optimiser.lr", "5.0")
    network = tiny_net()
    before = network.conv.weight.detach().clone()
    result = Trainer(network, tiny_clips(), tiny_clips(9, 1), recipe, Settings(tmp_path)).run()
    assert result["best"]["epoch"] == 0
    written = weights.load(tmp_path / "best.safetensors").state
    np.testing.assert_array_equal(written["conv.weight"], before.numpy())


@pytest.mark.parametrize("model", ["slowr50_sa", "r2plus1d_sta", "keypoint_tsa"])
def test_the_recipe_keeps_the_preprocessing_of_the_weights_that_it_starts_from(model: str) -> None:
    spec = weights.resolve(model, "default").spec
    assert find_recipe("finetune", model).crops(spec, trained=True) == spec
