"""A run that is killed, again and again, ends with the same bits as one that is not."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.training.recipes import Recipe
from dfer_edge.training.trainer import Settings, Trainer
from dfer_edge.training.validate import Validated
from dfer_edge.weights import file as weights
from tests.training.tiny import tiny_clips, tiny_net, tiny_recipe

FORK = multiprocessing.get_context("fork")


def two_phases() -> Recipe:
    recipe = tiny_recipe()
    second = dataclasses.replace(recipe.stages[0], epochs=1, start="best")
    return dataclasses.replace(recipe, stages=(recipe.stages[0], second))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # a forked child has no threads of OpenCV's pool to wait for


def train(out: Path, seed: int, recipe: Recipe | None = None) -> None:
    settings = Settings(out, seed=seed, save_every_s=0.0)  # a checkpoint after every step
    Trainer(tiny_net(seed), tiny_clips(), tiny_clips(9, seed=1), recipe or two_phases(), settings).run()


def final(out: Path) -> tuple[str, str, str]:
    """Hashes of the weights' bits (the order of a file's metadata is not fixed), and the log."""
    hashes = [weights.load(out / name).sha256 for name in ("last.safetensors", "best.safetensors")]
    return hashes[0], hashes[1], (out / "log.csv").read_text()


def kill_after(process: BaseProcess, checkpoint: Path, saves: int, pause_s: float) -> None:
    """SIGKILL a while after so many new checkpoints, or not at all if the process ends before."""
    seen: set[int] = set()
    while process.is_alive() and len(seen) <= saves:
        with contextlib.suppress(FileNotFoundError):
            seen.add(checkpoint.stat().st_mtime_ns)
        time.sleep(0.0005)
    time.sleep(pause_s)
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Seed -> a run of two phases that nothing disturbed."""

    @functools.cache
    def trained(seed: int) -> Path:
        train(out := tmp_path_factory.mktemp("whole"), seed)
        return out

    return trained


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_points(tmp_path: Path, seed: int, whole: Callable[[int], Path]) -> None:
    rng, out, kills = random.Random(seed), tmp_path / "killed", 0
    for _ in range(4):
        process = FORK.Process(target=train, args=(out, seed))
        process.start()
        kill_after(process, out / "checkpoint.safetensors", rng.randint(1, 4), rng.uniform(0, 0.03))
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 2
    train(out, seed)
    assert final(out) == final(whole(seed))


def test_interrupted_between_any_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[[int], Path]
) -> None:
    """Also where a kill leaves best.safetensors newer than the checkpoint, and between stages."""
    expected = final(whole(0))
    save = Trainer.save
    for stop_at in (1, 7, 8, 15, 22):
        calls = [0]

        def stopping(self: Trainer, calls: list[int] = calls, stop_at: int = stop_at) -> None:
            calls[0] += 1
            if calls[0] == stop_at:
                raise KeyboardInterrupt
            save(self)

        out = tmp_path / str(stop_at)
        monkeypatch.setattr(Trainer, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(out, 0)
        monkeypatch.setattr(Trainer, "save", save)
        train(out, 0)
        assert final(out) == expected


def test_a_stage_that_starts_from_the_best_begins_from_the_same_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the stage's first epoch replaced best.safetensors, before any checkpoint within the stage."""
    recipe = two_phases()
    # Better with every epoch, so that each one is exported.
    order = iter(range(100))
    monkeypatch.setattr(Validated, "scores", lambda _: {"uar": float(next(order)), "war": 0.0, "log_loss": 1.0})

    def run(out: Path) -> None:
        settings = Settings(out, seed=4, save_every_s=math.inf)
        Trainer(tiny_net(4), tiny_clips(), tiny_clips(9, seed=1), recipe, settings).run()

    run(tmp_path / "whole")
    record, killed = Trainer._record, tmp_path / "killed"

    def dying(self: Trainer, row: dict[str, object]) -> None:
        record(self, row)
        if row["stage"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_record", dying)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    monkeypatch.setattr(Trainer, "_record", record)
    run(killed)
    assert final(killed)[:2] == final(tmp_path / "whole")[:2]


def test_a_finished_run_does_nothing_more(tmp_path: Path, whole: Callable[[int], Path]) -> None:
    out = shutil.copytree(whole(0), tmp_path / "again")
    train(out, 0)
    assert final(out) == final(whole(0))


def test_seeds_differ(whole: Callable[[int], Path]) -> None:
    assert final(whole(0))[0] != final(whole(1))[0]


def test_scratch_files_of_the_killed_are_swept(tmp_path: Path, whole: Callable[[int], Path]) -> None:
    out = shutil.copytree(whole(0), tmp_path / "again")
    (out / ".123-checkpoint.safetensors").write_bytes(b"half")
    train(out, 0)
    assert not list(out.glob(".*"))


def test_scratch_files_of_a_kill_before_the_first_checkpoint_are_swept(tmp_path: Path) -> None:
    """Both names that exporting weights leaves: of the publication, and of the writer within it."""
    for name in (".123-best.safetensors", "..123-best.partial.safetensors"):
        (tmp_path / name).write_bytes(b"half")
    train(tmp_path, 0, tiny_recipe())
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_recipe(whole: Callable[[int], Path]) -> None:
    with pytest.raises(InvalidInput, match="expected a checkpoint of recipe"):
        train(whole(0), 0, dataclasses.replace(two_phases(), ema=0.5))


def test_a_checkpoint_of_another_seed(whole: Callable[[int], Path]) -> None:
    with pytest.raises(InvalidInput, match="checkpoint of seed 1, got 0"):
        train(whole(0), 1)


def test_a_checkpoint_of_another_model(whole: Callable[[int], Path]) -> None:
    net = tiny_net()
    net.spec = dataclasses.replace(net.spec, name="slowr50_sa")
    with pytest.raises(InvalidInput, match="checkpoint of model slowr50_sa, got slowr50 "):
        Trainer(net, tiny_clips(), tiny_clips(9, 1), two_phases(), Settings(whole(0), seed=0)).run()
