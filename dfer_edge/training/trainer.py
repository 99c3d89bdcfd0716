"""The loop: stages, epochs, steps; checkpoints from which a killed run goes on to the same bits.

Nothing that is drawn depends on what was drawn before: the order of clips, every augmentation and dropout are seeded by
(seed, stage, epoch, step or clip). A checkpoint therefore holds weights, average, optimiser and a position, and a run
that resumes from it takes the same steps as one that was never stopped, on the same machine with as many threads.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models.simplified import spec_of
from dfer_edge.training import checkpoint, distributed, journal
from dfer_edge.training.data.samples import ClipDataset, target_shapes
from dfer_edge.training.fold_time import centre_taps_only, fold_time, unfold_time
from dfer_edge.training.loader import Batch, Key, Reader, epoch_keys, read_batches, validation_keys
from dfer_edge.training.network import fold_grey, freeze, inference_part, require_one_scale, stage_spec, train_mode
from dfer_edge.training.objective import Objective
from dfer_edge.training.optimise import average, build_optimisers, rate, set_rates
from dfer_edge.training.recipes import Recipe, Stage
from dfer_edge.training.settings import PRECISIONS, Settings, check
from dfer_edge.training.validate import evaluate
from dfer_edge.weights import file as weights

__all__ = ["Diverged", "Progress", "Settings", "Trainer", "seed_everything"]

# (fraction of the run done, one line about it)
Report = Callable[[int, int, str], None]


class Diverged(InvalidInput):
    """Loss or weights that are no longer finite: the recipe does not suit the data."""


@dataclasses.dataclass
class Progress:
    """Where a run stands; all of it goes into checkpoints."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    updates: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)


class Trainer:
    """One run.

    Parameters
    ----------
    network
        Training form, with its spec; trained in place.
    train_set, val_set
        Clips whose labels are the network's.
    recipe, settings
        What and how.
    report
        Gets (steps done, steps in all, a line about the run).
    rank, world, device
        Of this process, see :func:`dfer_edge.training.distributed.processes`.
    inner_set
        Clips that are validated on too, as ``inner_...`` of the log: to choose an epoch that ``val_set`` did not.
    """

    def __init__(
        self,
        network: nn.Module,
        train_set: ClipDataset,
        val_set: ClipDataset,
        recipe: Recipe,
        settings: Settings,
        report: Report | None = None,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
        inner_set: ClipDataset | None = None,
    ) -> None:
        self.recipe, self.settings, self.train_set, self.val_set = recipe, settings, train_set, val_set
        self.inner_set = inner_set
        self.report, self.rank, self.world = report or (lambda *_: None), rank, world
        self.device = device or torch.device(settings.device)
        check(recipe, settings, len(train_set.targets), world)
        if recipe.reads_grey:
            require_one_scale(network)
        for stage in recipe.stages:  # now, not hours later
            freeze(network, stage.frozen, stage.frozen)
            freeze(network, (), stage.frozen)
        if settings.fold if settings.fold is not None else self.device.type == "cpu":
            fold_time(network)
        spec = spec_of(network)
        outputs = {name: math.prod(shape) for name, shape in target_shapes(train_set).items()}
        if spec.landmarks and not (outputs.get("landmarks") and target_shapes(val_set).get("landmarks")):
            raise InvalidInput(
                f"expected landmarks for {spec.name}, {train_set.name} or {val_set.name} has none in some of its clips"
            )
        counts = np.bincount(train_set.targets, minlength=spec.num_classes).tolist()
        seed_everything((settings.seed,))
        self.objective = Objective(network, recipe.losses, outputs, counts).to(self.device)
        self.averaged = copy.deepcopy(self.objective) if recipe.ema else None
        self.progress = Progress(skipped={**train_set.missing, **val_set.missing})
        self._optimisers: list[torch.optim.Optimizer] = []
        self._scaler = torch.amp.GradScaler("cuda", enabled=settings.precision == "fp16")
        self._saved_s = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Train to the end, resuming if there is a checkpoint; returns a JSON-safe summary.

        Raises
        ------
        DferError
            If a checkpoint of another run is in the way, or the disk is full.
        """
        self.settings.out.mkdir(parents=True, exist_ok=True)
        resumed = self._resume()
        while self.progress.stage < len(self.recipe.stages):
            stage = self.recipe.stages[self.progress.stage]
            if not resumed:
                self._begin_stage(stage)
            resumed = False
            self._run_stage(stage)
            self.progress.stage, self.progress.epoch = self.progress.stage + 1, 0
        return self._finish()

    def _run_stage(self, stage: Stage) -> None:
        spec = stage_spec(self.objective.network, stage)
        if self.averaged is not None:
            stage_spec(self.averaged.network, stage)
        model = distributed.wrapped(
            self.objective, self.world, unused=spec.frames != spec_of(self.objective.network).frames
        )
        reader = Reader(self.train_set, spec, stage)
        if self.recipe.keeps_start and not self.progress.history and not self.progress.updates:
            # Weights that nothing improves on are the best: a run on few clips need not end worse than it began.
            self._record(self._validate(stage, Reader(self.val_set, spec, stage)) | {"epoch": 0})
        while self.progress.epoch < stage.epochs:
            self._epoch(stage, model, reader)
            row = self._validate(stage, Reader(self.val_set, spec, stage))
            self._record(row)
            self.progress.epoch, self.progress.step, self.progress.sums = self.progress.epoch + 1, 0, {}
            self.save()

    def _epoch(self, stage: Stage, model: nn.Module, reader: Reader) -> None:
        keys = self._keys(stage)
        steps, parts = len(keys) // self.settings.accumulate, self.settings.accumulate
        batches = read_batches(reader, keys[self.progress.step * parts :], self.settings.workers)
        train_mode(model, self.objective.network, stage.frozen)
        while self.progress.step < steps:
            seed_everything(
                (self.settings.seed, self.progress.stage, self.progress.epoch, self.progress.step, self.rank)
            )
            done = self.progress.epoch + self.progress.step / steps
            set_rates(self._optimisers, rate(stage.schedule, done, stage.epochs))
            self._step(model, [next(batches) for _ in range(parts)])
            self.progress.step += 1
            self.progress.updates += 1
            if self.averaged is not None:
                average(self.averaged, self.objective, self.recipe.ema, self.progress.updates)
            self._tell(stage, steps)
            if time.monotonic() - self._saved_s > self.settings.save_every_s:
                self.save()

    def _keys(self, stage: Stage) -> list[list[Key]]:
        batch = stage.batch // self.world
        seeds = (self.settings.seed, self.progress.stage, self.progress.epoch)
        keys = epoch_keys(len(self.train_set.targets), seeds, batch, self.rank, self.world)
        part = batch // self.settings.accumulate
        return [step[start : start + part] for step in keys for start in range(0, batch, part)]

    def _step(self, model: nn.Module, parts: Sequence[tuple[Batch, list[tuple[str, str]]]]) -> None:
        for number, (batch, skipped) in enumerate(parts):
            self.progress.skipped |= dict(skipped)
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last else distributed.unsynchronised(model):
                with self._autocast():
                    losses = model(self._place(batch))
                self._scaler.scale(losses["loss"] / len(parts)).backward()
            for name, value in losses.items():
                self.progress.sums[name] = self.progress.sums.get(name, 0.0) + float(value.detach()) / len(parts)
        if not np.isfinite(self.progress.sums["loss"]):
            raise Diverged(
                f"expected a finite loss, got {self.progress.sums['loss']} in stage {self.progress.stage}, epoch "
                f"{self.progress.epoch}, step {self.progress.step}",
                "lower stages.optimiser.lr, or train with --precision fp32",
            )
        for optimiser in self._optimisers:
            self._scaler.unscale_(optimiser)
        if self.recipe.clip_gradient:
            nn.utils.clip_grad_norm_(model.parameters(), self.recipe.clip_gradient)
        for optimiser in self._optimisers:
            self._scaler.step(optimiser)
            optimiser.zero_grad(set_to_none=True)
        self._scaler.update()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        dtype = PRECISIONS[self.settings.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _place(self, batch: Batch) -> Batch:
        placed = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        placed["clip"] = placed["clip"].contiguous(memory_format=torch.channels_last_3d)
        return placed

    def _tell(self, stage: Stage, steps: int) -> None:
        position = self.progress
        before = sum(self._stage_clips(s) for s in self.recipe.stages[: position.stage])
        done = before + (position.epoch * steps + position.step) * stage.batch
        total = sum(self._stage_clips(s) for s in self.recipe.stages)
        loss = position.sums["loss"] / position.step
        text = f"stage {position.stage + 1}/{len(self.recipe.stages)} epoch {position.epoch + 1}/{stage.epochs}"
        self.report(done, total, f"{text} loss {loss:.3f}")

    def _stage_clips(self, stage: Stage) -> int:
        return stage.epochs * (len(self.train_set.targets) // stage.batch) * stage.batch

    def _validate(self, stage: Stage, reader: Reader) -> dict[str, Any]:
        position = self.progress
        steps = max(position.step, 1)
        row: dict[str, Any] = {"stage": position.stage + 1, "epoch": position.epoch + 1}
        # Of the last step, from the schedule: a run that resumes here has not taken one.
        share = rate(stage.schedule, position.epoch + (steps - 1) / steps, stage.epochs)
        row |= {"lr": self._optimisers[0].param_groups[0]["initial_lr"] * share}
        row |= {"train_war" if name == "right" else name: value / steps for name, value in position.sums.items()}
        if not all(bool(torch.isfinite(weight).all()) for weight in self.objective.parameters()):
            raise _diverged("weights", row)
        if self.rank == 0:
            batches = read_batches(
                reader, validation_keys(len(self.val_set.targets), max(1, stage.batch // 2)), self.settings.workers
            )
            chosen = self.averaged or self.objective
            found = evaluate(chosen, batches, self._place)
            if not np.isfinite(found.probabilities).all():
                raise _diverged("outputs", row)
            position.skipped |= dict(found.skipped)
            row |= {f"val_{name}": v for name, v in found.scores().items()}
            row["val_confusion"] = found.confusion()
            if self.inner_set is not None:
                row |= self._inner(chosen, reader)
        result: dict[str, Any] = distributed.from_first(row, self.world)
        return result

    def _inner(self, chosen: Objective, reader: Reader) -> dict[str, Any]:
        assert self.inner_set is not None  # noqa: S101 - checked by the caller
        keys = validation_keys(len(self.inner_set.targets), max(1, reader.stage.batch // 2))
        own = Reader(self.inner_set, reader.spec, reader.stage)
        found = evaluate(chosen, read_batches(own, keys, self.settings.workers), self._place)
        return {f"inner_{name}": value for name, value in found.scores().items() if not name.startswith("recall")}

    def _record(self, row: dict[str, Any]) -> None:
        position, name = self.progress, f"val_{self.recipe.select}"
        for other in distributed.gathered(position.skipped, self.world):
            position.skipped |= other
        position.history.append(row)
        sign = -1.0 if self.recipe.select == "log_loss" else 1.0
        value = sign * float(row[name])
        if not position.best or value > position.best["value"]:
            position.best = {"value": value, "row": row}
            self.export(self.settings.out / "best.safetensors")
        if self.rank == 0:
            journal.write_table(self.settings.out / "log.csv", position.history)
            if self.settings.resumes:
                journal.write_curves(self.settings.out / "curves.png", position.history)
            if position.skipped:
                journal.write_skipped(self.settings.out / "skipped.csv", position.skipped)

    def _begin_stage(self, stage: Stage) -> None:
        # What the first process wrote is whole, and nobody still reads the checkpoint that it replaces below.
        distributed.barrier(self.world)
        network = self.objective.network
        if stage.start == "best":
            state = weights.load(self.settings.out / "best.safetensors").state or {}
            own = network.state_dict()
            own |= {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
            network.load_state_dict(own)
        elif stage.start == "ema" and self.averaged is not None:
            self.objective.load_state_dict(self.averaged.state_dict())
        elif stage.start not in ("last", "ema"):
            raise InvalidInput(f"expected start out of last, ema, best; got {stage.start!r}")
        if stage.centre_taps:
            centre_taps_only(network)
        if self.averaged is not None and (stage.centre_taps or stage.start == "best" or not self.progress.updates):
            self.averaged.load_state_dict(self.objective.state_dict())
        self._forget_incomparable_best(stage)
        self._make_optimisers(stage)
        # best.safetensors may be replaced from here on: a killed run must not begin this stage again from the new one.
        self.save()

    def _forget_incomparable_best(self, stage: Stage) -> None:
        """Values of a validation on other frames or another size do not compete with this stage's."""
        if self.progress.stage:
            network, before = self.objective.network, self.recipe.stages[self.progress.stage - 1]
            if stage_spec(network, before) != stage_spec(network, stage):
                self.progress.best = {}

    def _make_optimisers(self, stage: Stage) -> None:
        thawed = [name for other in self.recipe.stages for name in other.frozen]
        freeze(self.objective.network, stage.frozen, thawed)
        self._optimisers = build_optimisers(self.objective, stage.optimiser, self.recipe.losses, stage.batch)

    # Checkpoints.

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on to be resumed."""
        spec = spec_of(self.objective.network)
        digest = hashlib.sha256(self.train_set.targets.tobytes() + self.val_set.targets.tobytes()).hexdigest()[:16]
        return {
            "model": spec.name,
            "spec": spec.to_json(),
            "recipe": self.recipe.to_json(),
            "data": f"{self.settings.data_name} {digest}",
            "seed": self.settings.seed,
            "precision": self.settings.precision,
            "processes": self.world,
            "accumulate": self.settings.accumulate,
        }

    @property
    def checkpoint_path(self) -> Path:
        return self.settings.out / "checkpoint.safetensors"

    def save(self) -> None:
        """Publish a checkpoint now."""
        self._saved_s = time.monotonic()
        if self.rank or not self.settings.resumes:
            return
        tensors = {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        if self.averaged is not None:
            tensors |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        for number, optimiser in enumerate(self._optimisers):
            tensors |= checkpoint.pack_optimiser(optimiser, f"optimiser{number}")
        state = {"identity": self.identity(), "progress": dataclasses.asdict(self.progress)}
        state["scaler"] = self._scaler.state_dict()
        checkpoint.save(self.checkpoint_path, checkpoint.Checkpoint(tensors, state))

    def _resume(self) -> bool:
        if self.rank == 0:
            checkpoint.sweep(self.settings.out)
        # The first process decides: its own first checkpoint may be there before another one looks.
        if not distributed.from_first(self.checkpoint_path.exists(), self.world):
            return False
        loaded = checkpoint.load(self.checkpoint_path, self.identity())
        self.objective.load_state_dict(_within(loaded.tensors, "objective."))
        if self.averaged is not None:
            self.averaged.load_state_dict(_within(loaded.tensors, "averaged."))
        self.progress = Progress(**loaded.state["progress"])
        self._scaler.load_state_dict(loaded.state["scaler"])
        if self.progress.stage >= len(self.recipe.stages):
            return False
        stage = self.recipe.stages[self.progress.stage]
        if self.progress.epoch >= stage.epochs:
            # Killed between a stage's last checkpoint and the next stage.
            self.progress.stage, self.progress.epoch = self.progress.stage + 1, 0
            return False
        self._make_optimisers(stage)
        for number, optimiser in enumerate(self._optimisers):
            checkpoint.unpack_optimiser(optimiser, f"optimiser{number}", loaded.tensors)
        return True

    def export(self, path: Path) -> None:
        """Weights of the network (their average, if there is one) for inference; auxiliary parts stay behind."""
        if self.rank:
            return
        network = inference_part(unfold_time(copy.deepcopy((self.averaged or self.objective).network)).cpu())
        if self.recipe.reads_grey:
            fold_grey(network)
        notes = {
            "recipe": self.recipe.name,
            "source": self.recipe.source,
            "data": self.settings.data_name,
            "seed": str(self.settings.seed),
        }
        # The suffix must stay the last part of the scratch file's name.
        checkpoint.publish(path, lambda scratch: weights.save(scratch, network, untrained=0, compact=False, **notes))

    def _finish(self) -> dict[str, Any]:
        written = {name: self.settings.out / f"{name}.safetensors" for name in ("best", "last")}
        if self.settings.resumes:
            self.export(written["last"])
            self.save()
        else:
            written.pop("last")
        return {
            "model": spec_of(self.objective.network).name,
            "recipe": self.recipe.name,
            "data": self.settings.data_name,
            "seed": self.settings.seed,
            "best": self.progress.best.get("row"),
            "last": self.progress.history[-1] if self.progress.history else None,
            "skipped_clips": len(self.progress.skipped),
            "weights": {name: str(path) for name, path in written.items()},
        }


def seed_everything(seeds: Sequence[int]) -> None:
    """Seed torch, numpy and Python with a hash of ``seeds``."""
    value = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    torch.manual_seed(value)
    np.random.seed(value)  # For code of users' data sets that draws from it.
    random.seed(value)


def _diverged(what: str, row: Mapping[str, Any]) -> Diverged:
    reason = f"expected finite {what}, they are not after stage {row['stage']}, epoch {row['epoch']}: it diverged"
    return Diverged(reason, "lower stages.optimiser.lr, or set clip_gradient")


def _within(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
