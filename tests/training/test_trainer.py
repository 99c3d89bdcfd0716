"""The loop: it learns, validates, skips what does not read, exports what inference loads, and shares out work."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.models import r2plus1d, slowr50
from dfer_edge.training.data.samples import Choose, Sample, Subset, UnreadableClip, split_groups
from dfer_edge.training.data.shards import ArrayClips
from dfer_edge.training.loader import Key, Reader, epoch_keys, read_batches, validation_keys
from dfer_edge.training.recipes import Losses, Sampling, Stage
from dfer_edge.training.trainer import Diverged, Settings, Trainer
from dfer_edge.training.validate import scores
from dfer_edge.weights import file as weights
from tests.training.tiny import LABELS, SPEC, tiny_clips, tiny_net, tiny_recipe


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Flawed:
    """Clips of which some do not read."""

    def __init__(self, base: ArrayClips, bad: set[int]) -> None:
        self.name, self.labels, self.targets, self.groups = "flawed", base.labels, base.targets, base.groups
        self.missing = {"gone.mp4": "listed, but not there"}
        self._base, self._bad = base, bad

    def describe(self, index: int) -> str:
        return f"clip{index}.mp4"

    def read(self, index: int, choose: Choose) -> Sample:
        if index in self._bad:
            raise UnreadableClip("does not decode")
        return self._base.read(index, choose)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_it_learns_and_writes_what_it_should(tmp_path: Path) -> None:
    recipe = tiny_recipe().override("stages.epochs", "6").override("stages.pixels.brightness", "0.0")
    recipe = recipe.override("stages.optimiser.lr", "0.05")
    lines = []
    trainer = Trainer(
        tiny_net(), tiny_clips(48), tiny_clips(12, 1), recipe, Settings(tmp_path), lambda *x: lines.append(x)
    )
    result = trainer.run()
    assert result["best"]["val_uar"] > 0.8
    assert [int(row["epoch"]) for row in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert float(rows(tmp_path)[-1]["loss"]) < float(rows(tmp_path)[0]["loss"])
    assert lines[-1][0] == lines[-1][1] == 6 * 48
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    best = weights.load(tmp_path / "best.safetensors")
    assert best.spec == SPEC
    assert set(best.state or {}) == set(tiny_net().state_dict())


def test_the_exported_weights_are_the_average(tmp_path: Path) -> None:
    trainer = Trainer(tiny_net(), tiny_clips(), tiny_clips(9, 1), tiny_recipe(), Settings(tmp_path))
    trainer.run()
    assert trainer.averaged is not None
    state = weights.load(tmp_path / "last.safetensors").state or {}
    for name, value in trainer.averaged.network.state_dict().items():
        np.testing.assert_array_equal(state[name], value.numpy())
    assert not np.array_equal(state["classifier.weight"], trainer.objective.network.classifier.weight.detach().numpy())


def test_a_phase_that_starts_from_the_best(tmp_path: Path) -> None:
    """With a rate of 0 the second phase ends as the best of the first."""
    first = dataclasses.replace(tiny_recipe().stages[0], epochs=3)
    second = dataclasses.replace(first, epochs=1, start="best", optimiser=dataclasses.replace(first.optimiser, lr=0.0))
    recipe = tiny_recipe(stages=(first, second), ema=0.0, select="war")
    values = iter([0.2, 0.9, 0.1, 0.0])
    trainer = Trainer(tiny_net(), tiny_clips(), tiny_clips(9, 1), recipe, Settings(tmp_path))
    record = trainer._record
    trainer._record = lambda row: record(row | {"val_war": next(values)})  # type: ignore[method-assign]
    result = trainer.run()
    assert (result["best"]["epoch"], result["best"]["val_war"]) == (2, 0.9)
    best, last = (weights.load(tmp_path / f"{name}.safetensors").state or {} for name in ("best", "last"))
    for name in ("conv.weight", "mix.weight", "classifier.weight"):
        np.testing.assert_array_equal(best[name], last[name])


def test_a_frozen_part_stays_as_it_is_until_it_thaws(tmp_path: Path) -> None:
    """Weights and batch statistics of the part; the rest learns."""
    # Two epochs: validation in between sets the modes of all parts anew.
    free = dataclasses.replace(tiny_recipe().stages[0], epochs=2)
    frozen = dataclasses.replace(free, frozen=("conv", "norm"))
    states = []

    def run(stages: tuple[Stage, ...]) -> dict[str, torch.Tensor]:
        trainer = Trainer(tiny_net(), tiny_clips(), tiny_clips(9, 1), tiny_recipe(stages=stages), settings)
        trainer.run()
        return {name: value.clone() for name, value in trainer.objective.network.state_dict().items()}

    for number, stages in enumerate([(frozen,), (frozen, free)]):
        settings = Settings(tmp_path / str(number))
        states.append(run(stages))
    before, (held, thawed) = tiny_net().state_dict(), states
    still = {name for name in before if name.startswith(("conv.", "norm."))}
    assert len(still) >= 4
    for name, value in before.items():
        assert torch.equal(held[name], value) == (name in still), name
        assert not torch.equal(thawed[name], value), name


def test_clips_that_do_not_read_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    train, val = Flawed(tiny_clips(), {0, 7}), Flawed(tiny_clips(9, 1), {3})
    result = Trainer(tiny_net(), train, val, tiny_recipe(), Settings(tmp_path)).run()
    assert result["skipped_clips"] == 4
    with (tmp_path / "skipped.csv").open() as file:
        listed = {row["clip"]: row["reason"] for row in csv.DictReader(file)}
    assert listed == {"gone.mp4": "listed, but not there", **{f"clip{n}.mp4": "does not decode" for n in (0, 3, 7)}}


def test_a_set_that_does_not_read_at_all(tmp_path: Path) -> None:
    train = Flawed(tiny_clips(), set(range(24)))
    with pytest.raises(InvalidInput, match="expected clips that read"):
        Trainer(tiny_net(), train, tiny_clips(9, 1), tiny_recipe(), Settings(tmp_path)).run()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_the_one_line_that_it_is_here(tmp_path: Path, workers: int) -> None:
    train = Flawed(tiny_clips(), set(range(1, 24)))
    with pytest.raises(InvalidInput, match="in a row do not") as caught:
        Trainer(tiny_net(), train, tiny_clips(9, 1), tiny_recipe(), Settings(tmp_path, workers=workers)).run()
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_validation_set_that_does_not_read(tmp_path: Path) -> None:
    val = Flawed(tiny_clips(9, 1), set(range(9)))
    with pytest.raises(
        InvalidInput, match=r"clips to validate on, none of 9 reads, e\.g\. clip0\.mp4: does not decode"
    ):
        Trainer(tiny_net(), tiny_clips(), val, tiny_recipe(), Settings(tmp_path)).run()


def test_landmarks_that_the_network_needs_and_the_data_lack(tmp_path: Path) -> None:
    net = tiny_net()
    net.spec = dataclasses.replace(SPEC, landmarks=68)
    for train, val in ((tiny_clips(), tiny_clips(9, 1, targets=True)), (tiny_clips(targets=True), tiny_clips(9, 1))):
        with pytest.raises(InvalidInput, match="expected landmarks for slowr50"):
            Trainer(net, train, val, tiny_recipe(), Settings(tmp_path))


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    net = tiny_net()
    net.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(InvalidInput, match="finite loss, got nan in stage 0, epoch 0, step 0"):
        Trainer(net, tiny_clips(), tiny_clips(9, 1), tiny_recipe(), Settings(tmp_path)).run()


@pytest.mark.parametrize(("what", "rate"), [("weights", "1e39"), ("outputs", "1e30")])
def test_a_last_step_of_an_epoch_that_drove_out_of_bounds(what: str, rate: str, tmp_path: Path) -> None:
    """Its loss was finite: without a look validation would speak of probabilities. Finite weights may overflow too, as
    a gate's did in paper 002.
    """
    recipe = tiny_recipe(ema=0.0).override("stages.batch", "24").override("stages.optimiser.lr", rate)
    recipe = recipe.override("stages.schedule.warmup_epochs", "0.0")
    with pytest.raises(Diverged, match=rf"finite {what}, .* stage 1, epoch 1: it diverged") as caught:
        Trainer(tiny_net(), tiny_clips(), tiny_clips(9, 1), recipe, Settings(tmp_path)).run()
    assert "lr" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "fp16 on CUDA; got 'fp16' on cpu"),
        ({"precision": "int8"}, "expected precision fp32"),
        ({"accumulate": 0}, "accumulate of at least 1"),
        ({"workers": -1}, "workers and seed of at least 0"),
        ({"seed": -1}, "workers and seed of at least 0"),
        ({"accumulate": 3}, "1 processes of 3 parts share, got 4"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Trainer(tiny_net(), tiny_clips(), tiny_clips(9, 1), tiny_recipe(), Settings(tmp_path, **settings))  # type: ignore[arg-type]


def test_too_few_clips(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least a batch of 4 clips, got 3"):
        Trainer(tiny_net(), tiny_clips(3), tiny_clips(9, 1), tiny_recipe(), Settings(tmp_path))


def test_accumulated_parts_give_the_gradient_of_the_whole(tmp_path: Path) -> None:
    """Up to batch norm, which sees parts: the tiny network's is held still."""
    recipe = tiny_recipe(ema=0.0, clip_gradient=0.0).override("stages.optimiser.name", '"sgd"')
    states = []
    for accumulate in (1, 2):
        net = tiny_net()
        net.dropout.p = 0.0
        net.norm.momentum, net.norm.forward = 0.0, lambda x, net=net: x * net.norm.weight.view(-1, 1, 1, 1)
        settings = Settings(tmp_path / str(accumulate), accumulate=accumulate, fold=False)
        Trainer(net, tiny_clips(), tiny_clips(9, 1), recipe, settings).run()
        states.append(net.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_batches_do_not_depend_on_the_workers() -> None:
    reader = Reader(tiny_clips(targets=True), SPEC, tiny_recipe().stages[0])
    keys = epoch_keys(24, (3, 0, 1), 4, 0, 1)
    alone, helped = (list(read_batches(reader, keys, workers)) for workers in (0, 2))
    for (ours, _), (theirs, _) in zip(alone, helped, strict=True):
        assert set(ours) == {"clip", "label", "landmarks", "units"}
        for name, value in ours.items():
            np.testing.assert_array_equal(theirs[name], value, err_msg=name)


def test_an_epoch_deals_every_clip_once() -> None:
    dealt = [key.index for rank in range(3) for step in epoch_keys(26, (0, 0, 0), 2, rank, 3) for key in step]
    assert len(dealt) == len(set(dealt)) == 24
    assert epoch_keys(26, (0, 0, 0), 2, 0, 3) == epoch_keys(26, (0, 0, 0), 2, 0, 3)
    assert epoch_keys(26, (0, 0, 1), 2, 0, 3) != epoch_keys(26, (0, 0, 0), 2, 0, 3)
    assert [key.index for step in validation_keys(5, 2) for key in step] == [0, 1, 2, 3, 4]


def test_short_clips_are_dropped_where_the_recipe_says() -> None:
    stage = dataclasses.replace(tiny_recipe().stages[0], sampling=Sampling("pairs", min_frames=7))
    with pytest.raises(InvalidInput, match="at least 7 frames, got 6"):
        Reader(tiny_clips(), SPEC, stage)[Key(0, (1, 2))]
    assert "clip" in Reader(tiny_clips(), SPEC, stage)[Key(0)]


def test_validation_reads_as_inference_does() -> None:
    from dfer_edge.flow.clips import uniform_indices
    from dfer_edge.flow.preprocess import to_feed, whole_frame
    from dfer_edge.types import Box, Clip

    clips = tiny_clips(3, frames=7)
    item = Reader(clips, SPEC, tiny_recipe().stages[0])[Key(2)]
    positions = uniform_indices(7, 4)
    frames = clips.read(2, lambda _: positions).frames
    crops = np.stack([whole_frame(frame, SPEC) for frame in frames])
    feed = to_feed([Clip(crops, tuple(positions), Box(0, 0, 20, 20))], SPEC)
    np.testing.assert_array_equal(item["clip"], feed["clip"][0])


def test_auxiliary_heads_are_trained_and_left_behind(tmp_path: Path) -> None:
    from dfer_edge.models import create_model

    net = create_model("slowr50", class_names=LABELS)
    recipe = tiny_recipe(losses=Losses(units=1.0, landmarks=1.0), ema=0.0)
    trainer = Trainer(net, tiny_clips(targets=True), tiny_clips(9, 1), recipe, Settings(tmp_path))
    assert set(trainer.objective.heads.layers) == {"units", "landmarks"}  # type: ignore[union-attr]
    trainer.export(tmp_path / "w.safetensors")
    assert set(weights.load(tmp_path / "w.safetensors").state or {}) == set(net.state_dict())


def test_the_loss_branch_is_left_behind(tmp_path: Path) -> None:
    """And what is exported is what inference loads."""
    spec = dataclasses.replace(registry.find("r2plus1d_sta").spec, frames=4, size=32, labels=LABELS)
    net = r2plus1d.create(spec, loss_branch=True, loss_widths=(4, 4, 4))
    recipe = tiny_recipe(losses=Losses(sparse_centre=1.0))
    trainer = Trainer(net, tiny_clips(), tiny_clips(9, 1), recipe, Settings(tmp_path))
    trainer.export(tmp_path / "w.safetensors")
    weights.load_into(r2plus1d.create(spec), tmp_path / "w.safetensors")
    assert net.loss_branch is not None


def test_the_best_of_a_stage_is_not_compared_with_that_of_another_size(tmp_path: Path) -> None:
    """A first stage of smaller images with a value that the second never reaches."""
    first = dataclasses.replace(tiny_recipe().stages[0], epochs=1, frames=1)
    recipe = tiny_recipe(stages=(first, dataclasses.replace(first, frames=0)), select="war")
    spec = dataclasses.replace(registry.find("slowr50").spec, frames=4, size=32, labels=LABELS)
    values = iter([0.9, 0.1])
    net = slowr50.create(spec)
    trainer = Trainer(net, tiny_clips(8), tiny_clips(3, 1), recipe, Settings(tmp_path))
    record = trainer._record
    trainer._record = lambda row: record(row | {"val_war": next(values)})  # type: ignore[method-assign]
    result = trainer.run()
    assert (result["best"]["stage"], result["best"]["val_war"]) == (2, 0.1)
    best, last = (weights.load(tmp_path / f"{name}.safetensors").sha256 for name in ("best", "last"))
    assert best == last


def test_grey_that_cannot_be_folded_is_refused_before_training(tmp_path: Path) -> None:
    recipe = tiny_recipe().override("stages.pixels.grey", "1.0")
    net = tiny_net()
    net.spec = dataclasses.replace(net.spec, mean=(0.5, 0.4, 0.5))
    with pytest.raises(InvalidInput, match="one mean and deviation"):
        Trainer(net, tiny_clips(), tiny_clips(9, 1), recipe, Settings(tmp_path))


def test_a_split_parts_people() -> None:
    groups = np.asarray([0, 0, 1, 1, 2, -1, -1, 3])
    train, val = split_groups(groups, 0.5, seed=0)
    assert sorted([*train, *val]) == list(range(8))
    assert not set(groups[train][groups[train] >= 0]) & set(groups[val][groups[val] >= 0])
    with pytest.raises(InvalidInput, match="at least two identities"):
        split_groups(np.zeros(5, np.int64), 0.5, 0)


def test_a_subset_renames_and_leaves_out() -> None:
    subset = Subset(tiny_clips(6), np.arange(6), ("anger", "HAPPINESS"))
    assert subset.targets.tolist() == [1, 0, 1, 0]
    assert subset.read(0, lambda _: [0]).label == 1


def test_scores() -> None:
    probabilities = np.asarray([[0.7, 0.3, 0], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.9, 0.1, 0]])
    result = scores(probabilities, np.asarray([0, 0, 1, 0]))
    assert result["war"] == pytest.approx(3 / 4)
    assert result["uar"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["log_loss"] == pytest.approx(-np.log([0.7, 0.4, 0.8, 0.9]).mean())
    assert result["recall_2"] is None, "no clip of the class, and JSON has no NaN"
