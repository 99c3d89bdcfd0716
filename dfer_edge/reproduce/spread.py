"""Runs of a reproduction over processes and machines: what torchrun started, or the CPUs and GPUs of a Ray cluster.

A run is a folder with a result at its end, so processes share nothing but the folder: every machine sees the data and
the output under the same paths.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dfer_edge.errors import EngineUnavailable

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


def on_ray(job: Job, tasks: Sequence[tuple[Row, int]], address: str) -> Iterator[Result]:
    """Results of all tasks in order: plain tasks of a cluster, a CPU each, and a GPU where the job's device is one.

    A task whose worker dies is done again, from the run's checkpoint.

    Raises
    ------
    EngineUnavailable
        Without Ray.
    InvalidInput
        If no cluster answers at ``address``; ``local`` starts one here.
    DferError
        As the runs do.
    """
    try:
        import ray
    except ImportError as error:
        raise EngineUnavailable("a cluster needs Ray", 'pip install "dfer-edge[ray]"') from error
    from dfer_edge.label.cluster import join

    is_ours = not ray.is_initialized()
    if is_ours:
        join(ray, address, None)
    try:
        needs = {"num_cpus": 1, "num_gpus": 1 if job.device == "cuda" else 0}
        remote = ray.remote(**needs, max_retries=_RETRIES)(reproduce_fold)
        futures = [remote.remote(job, row, fold) for row, fold in tasks]
        yield from map(ray.get, futures)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    finally:
        if is_ours:
            ray.shutdown()


def reproduce_fold(job: Job, row: Row, fold: int) -> Result:
    """One run in a process of a cluster."""
    import torch

    from dfer_edge.reproduce.runs import fold_result

    torch.set_num_threads(1)
    return fold_result(job, row, fold)
