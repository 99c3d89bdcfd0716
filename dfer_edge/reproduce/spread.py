"""Runs of a reproduction over processes and machines: what torchrun started, or the CPUs and GPUs of a Ray cluster.

A run is a folder with a result at its end, so processes share nothing but the folder: every machine sees the data and
the output under the same paths.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dfer_edge.system.ray_cluster import cluster

if TYPE_CHECKING:
    from dfer_edge.reproduce.papers import Row
    from dfer_edge.reproduce.runs import Job

Result = dict[str, Any]

# Times a run is begun again after its process died; it goes on from its checkpoint.
_RETRIES = 3
_POLL_S = 2.0


def processes() -> tuple[int, int, int]:
    """Rank, number of processes and rank on this machine, as torchrun says; 0, 1, 0 alone."""
    rank, world, local = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return rank, max(world, 1), local


def shared_out(
    tasks: Sequence[tuple[Row, int]],
    perform: Callable[[Row, int], Result],
    finished: Callable[[Row, int], Result | None],
) -> Iterator[Result | None]:
    """Results of all tasks in order, each process doing every n-th; the first waits for those of the others.

    The other processes get None for what is not theirs. Torchrun ends all when one fails, so nobody waits for the dead.
    """
    rank, world, _ = processes()
    own = [perform(*task) for task in tasks[rank::world]]
    for number, task in enumerate(tasks):
        if number % world == rank:
            yield own[number // world]
            continue
        found = None
        while rank == 0 and (found := finished(*task)) is None:
            time.sleep(_POLL_S)
        yield found


def on_ray(perform: Callable[[Job, Row, int], Result], job: Job, tasks: Sequence[tuple[Row, int]]) -> Iterator[Result]:
    """Results of all tasks in order: plain tasks of a cluster, a CPU each, and a GPU where the job's device is one.

    A task whose worker dies is done again, from the run's checkpoint.

    Raises
    ------
    EngineUnavailable
        Without Ray.
    InvalidInput
        If no cluster answers at ``job.ray``; ``local`` starts one here.
    DferError
        As the runs do.
    """
    with cluster(job.ray) as ray:
        needs = {"num_cpus": 1, "num_gpus": 1 if job.device == "cuda" else 0}
        remote = ray.remote(**needs, max_retries=_RETRIES)(perform)
        futures = [remote.remote(job, row, fold) for row, fold in tasks]
        try:
            yield from map(ray.get, futures)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
