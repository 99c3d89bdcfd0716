"""Several processes by torchrun: one a GPU with NCCL, or on a CPU with Gloo. Alone, everything is a no-op."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@contextlib.contextmanager
def processes(device: str) -> Iterator[tuple[int, int, torch.device]]:
    """Rank, number of processes and device of this process; joins the group that torchrun describes."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    where = torch.device(device)
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    if world > 1:
        distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield rank, world, where
        # Who leaves first closes connections that the others still read from, and Gloo aborts on that.
        barrier(world)
    finally:
        if world > 1:
            distributed.destroy_process_group()


def barrier(world: int) -> None:
    """Wait until all processes are here."""
    if world > 1:
        distributed.barrier()


def wrapped(module: nn.Module, world: int, unused: bool) -> nn.Module:
    """``module``, or DDP around it; ``unused`` if some parameters get no gradient."""
    if world == 1:
        return module
    return DistributedDataParallel(module, find_unused_parameters=unused)


def unsynchronised(module: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Gradients stay local: for all but the last part of an accumulated step."""
    if isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def from_first(value: Any, world: int) -> Any:
    """The first process's ``value`` in all."""
    if world == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: Any, world: int) -> list[Any]:
    """The values of all processes, in all."""
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    distributed.all_gather_object(values, value)
    return values
