"""A reproduction that is killed at random points and started again ends with the numbers of one that was not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dfer_edge.faces import FaceFinder
from dfer_edge.reproduce import Job, Row, find_paper, report, run
from dfer_edge.reproduce.data import Fold
from dfer_edge.training.recipes import Recipe
from dfer_edge.types import Detection
from tests.reproduce import fakes
from tests.training.test_resume import two_phases
from tests.training.tiny import tiny_clips, tiny_net

FORK = multiprocessing.get_context("fork")


class Nobody:
    """A detector: nothing is looked for in these clips."""

    name = "nobody"

    def detect(self, image: np.ndarray) -> list[Detection]:
        raise AssertionError("no face is looked for")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paper 000 with a network of a few hundred numbers, whose folds differ."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def fold(data: str, number: int, *_: object) -> Fold:
        return Fold(tiny_clips(24, seed=number), tiny_clips(9, seed=10 + number), tiny_clips(9, seed=20 + number))

    monkeypatch.setattr("dfer_edge.reproduce.data.open_fold", fold)
    monkeypatch.setattr("dfer_edge.reproduce.runs.recipe_of", lambda job, row: two_phases())
    monkeypatch.setattr("dfer_edge.reproduce.fold.for_network", lambda *_, **__: (FaceFinder(Nobody()), None))
    monkeypatch.setattr("dfer_edge.training.journal.write_curves", lambda *_: True)
    monkeypatch.setattr("dfer_edge.training.network.build_network", lambda *_, **__: tiny_net())


def job(out: Path) -> Job:
    return Job(find_paper("000"), {"*": "shards:none"}, out, variants=["slowr50", "slowr50-sa"], most_folds=2)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_points(tmp_path: Path, seed: int) -> None:
    run(job(tmp_path / "warm"))  # what is imported once is not part of the time
    began = time.monotonic()
    whole = run(job(tmp_path / "whole"))
    taken_s, rng, kills = time.monotonic() - began, random.Random(seed), 0
    for _ in range(4):
        process = FORK.Process(target=run, args=(job(tmp_path / "killed"),))
        process.start()
        process.join(rng.uniform(0.1, 0.3) * taken_s)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 2
    assert run(job(tmp_path / "killed")) == whole
    assert [len(result["runs"]) for result in whole] == [2, 2]
    assert whole[0]["runs"][0]["history"] != whole[0]["runs"][1]["history"]
    assert not list((tmp_path / "killed").rglob("checkpoint.safetensors"))


@pytest.mark.usefixtures("tiny")
def test_a_run_that_diverges_is_a_line_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(_: Job, row: Row) -> Recipe:
        return two_phases() if row.name == "slowr50" else two_phases().override("stages.optimiser.lr", "1e39")

    monkeypatch.setattr("dfer_edge.reproduce.runs.recipe_of", recipe)
    work = job(tmp_path)
    results = run(work)
    assert [len(result["runs"]) for result in results] == [2, 0]
    assert results[1]["missing"] == "diverged in fold 1, 2: lower --set stages.optimiser.lr"
    assert results[1]["missing"] in report.markdown(report.document(work, results))
    assert run(work) == results, "it is not tried again"


def as_rank(rank: int, out: Path) -> None:
    os.environ.update({"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)})
    found = run(job(out))
    (out / f"rank-{rank}.json").write_text(json.dumps(found))


@pytest.mark.usefixtures("tiny")
def test_the_processes_of_torchrun_share_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(json.dumps(run(job(tmp_path / "alone"))))
    monkeypatch.setattr("dfer_edge.reproduce.spread._POLL_S", 0.01)
    (tmp_path / "both").mkdir()
    others = [FORK.Process(target=as_rank, args=(rank, tmp_path / "both")) for rank in (0, 1)]
    for process in others:
        process.start()
    for process in others:
        process.join()
        assert process.exitcode == 0
    first, second = (json.loads((tmp_path / "both" / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first == whole
    # The second did every other run: one of each row's two folds.
    assert [[made["fold"] for made in result["runs"]] for result in second] == [[2], [2]]


def command(out: Path, data: list[str]) -> list[str]:
    arguments = ["reproduce", "003", *data, "--size", "32", "--frames", "2", "--epochs", "2", "--folds", "1"]
    arguments += ["--threads", "1"]
    arguments += ["--variant", "full", "--variant", "model-A", "--out", str(out)]
    return [sys.executable, "-m", "dfer_edge", *arguments]


def rows(out: Path) -> Any:
    return json.loads((out / "reproduction.json").read_text())["rows"]


@pytest.mark.slow
def test_the_command_is_killed_at_random_points(tmp_path: Path, astronaut_frames: list[np.ndarray]) -> None:
    """Real networks, real faces, a process of its own."""
    data = fakes.make("003", tmp_path / "data", astronaut_frames)[:2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    subprocess.run(command(tmp_path / "whole", data), check=True, env=environment, capture_output=True)
    taken_s, rng, kills, halves = time.monotonic() - began, random.Random(3), 0, 0
    for _ in range(4):
        process = subprocess.Popen(command(tmp_path / "killed", data), env=environment, stdout=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.25, 0.6) * taken_s)
        except subprocess.TimeoutExpired:
            process.kill()
        kills += process.wait() == -signal.SIGKILL
        halves += any((tmp_path / "killed").rglob("checkpoint.safetensors"))
    assert kills >= 2
    assert halves, "no run was ever stopped halfway: nothing was resumed from a checkpoint"
    subprocess.run(command(tmp_path / "killed", data), check=True, env=environment, capture_output=True)
    documents = [json.loads((tmp_path / name / "reproduction.json").read_text()) for name in ("killed", "whole")]
    for document in documents:
        del document["provenance"]  # the date, and the commit of a checkout that is worked on
    assert documents[0] == documents[1]
    assert [len(row["runs"]) for row in rows(tmp_path / "whole")] == [1, 0, 0, 0, 1], "full and model-A on DFEW"


@pytest.mark.slow
def test_a_cluster_gives_the_same_and_outlives_a_worker(tmp_path: Path, astronaut_frames: list[np.ndarray]) -> None:
    pytest.importorskip("ray")
    data = fakes.make("003", tmp_path / "data", astronaut_frames)[1]
    jobs = [
        Job(find_paper("003"), {"dfew": data}, tmp_path / where, ["model-A", "full"], quick=True, ray=where)
        for where in ("", "local")
    ]
    jobs[0] = dataclasses.replace(jobs[0], out=tmp_path / "alone")
    killer = threading.Thread(target=kill_first_worker, args=(tmp_path / "local",))
    killer.start()
    found = run(jobs[1])
    killer.join()
    assert killed, "no worker was lost, so nothing was shown"
    assert found == run(jobs[0])


killed: list[int] = []


def kill_first_worker(out: Path) -> None:
    """SIGKILL the process of the first run that has begun."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not killed:
        if list(out.rglob("identity")):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (folder / "cmdline").read_bytes().startswith(b"ray::reproduce_fold"):
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.append(int(folder.name))
                        break
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("paper", fakes.LAYOUTS)
def test_quick_tables_are_complete(paper: str, tmp_path: Path, astronaut_frames: list[np.ndarray]) -> None:
    """Every row of every paper on fakes of its layouts; minutes of a whole processor each."""
    from dfer_edge.cli.main import main

    data = fakes.make(paper, tmp_path / "data", astronaut_frames)
    assert main(["reproduce", paper, *data, "--quick", "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    for row in rows(tmp_path / "out"):
        assert row["runs"], f"{row['row']['name']}: {row['missing']}"
        assert np.isfinite(
            [row["ours"][f"{choice}_{name}"]["mean"] for choice in ("on_test", "on_inner") for name in ("war", "uar")]
        ).all()
        assert sum(map(sum, row["ours"]["confusion"])) == sum(run["clips"]["test"] for run in row["runs"])
