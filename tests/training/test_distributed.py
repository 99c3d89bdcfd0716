"""Two processes train one network: forked here with what torchrun would tell them, and by torchrun itself."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from dfer_edge.training import distributed
from dfer_edge.training.trainer import Settings, Trainer
from dfer_edge.weights import file as weights
from tests.conftest import ROOT
from tests.training.tiny import SPEC, tiny_clips, tiny_net, tiny_recipe

FORK = multiprocessing.get_context("fork")
# Gloo itself ends a process by SIGABRT where a connection breaks while it is made (pytorch/gloo issue 514).
ABORTED, ATTEMPTS = -6, 3


def train(out: Path) -> None:
    """Of one of two processes; fails unless both end with the same parameters."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # a forked child has no threads of OpenCV's pool to wait for
    recipe = tiny_recipe().override("stages.batch", "8")
    second = dataclasses.replace(recipe.stages[0], epochs=1, start="best")
    recipe = dataclasses.replace(recipe, stages=(recipe.stages[0], second))
    with distributed.processes("cpu") as (rank, world, device):
        trainer = Trainer(tiny_net(), tiny_clips(), tiny_clips(9, 1), recipe, Settings(out), None, rank, world, device)
        trainer.run()
        sums = distributed.gathered([float(p.detach().double().sum()) for p in trainer.objective.parameters()], world)
        assert world == 2
        assert sums[0] == sums[1], sums


def train_as(rank: int, port: int, out: Path) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    train(out)


def check(out: Path) -> None:
    with (out / "log.csv").open() as log:
        assert len(list(csv.DictReader(log))) == 3
    assert weights.load(out / "last.safetensors").spec == SPEC


def test_two_processes(tmp_path: Path) -> None:
    for attempt in range(ATTEMPTS):
        out = tmp_path / str(attempt)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        both = [FORK.Process(target=train_as, args=(rank, port, out)) for rank in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join()
        if ABORTED not in (codes := [process.exitcode for process in both]):
            break
    assert codes == [0, 0]
    check(out)


@pytest.mark.slow
def test_two_processes_by_torchrun(tmp_path: Path) -> None:
    script = "import sys, pathlib; from tests.training.test_distributed import train; train(pathlib.Path(sys.argv[1]))"
    (tmp_path / "run.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for attempt in range(ATTEMPTS):
        out = tmp_path / f"out{attempt}"
        done = subprocess.run(
            [*command, str(tmp_path / "run.py"), str(out)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if f"exitcode: {ABORTED}" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    check(out)
