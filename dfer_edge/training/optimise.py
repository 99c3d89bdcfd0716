"""Optimisers, learning rates and the moving average of weights, from a recipe's data."""

from __future__ import annotations

import math

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.training.recipes import Losses, Optimiser, Schedule


def build_optimisers(
    module: nn.Module, optimiser: Optimiser, losses: Losses, batch: int
) -> list[torch.optim.Optimizer]:
    """The recipe's optimiser, and the centres' own SGD where the network has centres.

    Each group's ``initial_lr`` is its peak; the loop sets ``lr``.

    Raises
    ------
    InvalidInput
        For an unknown name.
    """
    scale = batch / optimiser.lr_batch if optimiser.lr_batch else 1.0
    learning = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    centres = [p for name, p in learning if name.endswith("loss_branch.centers")]
    others = [p for _, p in learning if not any(p is centre for centre in centres)]
    decayed = [p for p in others if optimiser.decay_norms or p.ndim > 1]
    spared = [p for p in others if not (optimiser.decay_norms or p.ndim > 1)]
    groups = [{"params": decayed, "weight_decay": optimiser.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    built = [_build(optimiser, [group for group in groups if group["params"]], optimiser.lr * scale)]
    if centres and losses.sparse_centre:
        # DACL divides the loss's weight out of the centres' gradient: a small weight must not stop the centres.
        built.append(torch.optim.SGD(centres, lr=losses.centre_lr / losses.sparse_centre))
    for group in (group for one in built for group in one.param_groups):
        group["initial_lr"] = group["lr"]
    return built


def _build(optimiser: Optimiser, groups: list[dict[str, object]], lr: float) -> torch.optim.Optimizer:
    if optimiser.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=optimiser.betas, fused=True)
    if optimiser.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=optimiser.betas, fused=True)
    if optimiser.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=optimiser.momentum, fused=True)
    raise InvalidInput(f"expected an optimiser out of adamw, adam, sgd; got {optimiser.name!r}")


def rate(schedule: Schedule, epoch: float, epochs: int) -> float:
    """Share of the peak learning rate at a time in epochs, e.g. 2.5 in the middle of the third.

    Raises
    ------
    InvalidInput
        For an unknown schedule.
    """
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "steps":
        return float(schedule.factor ** sum(epoch >= milestone for milestone in schedule.milestones))
    if schedule.name == "cosine":
        done = (epoch - schedule.warmup_epochs) / max(epochs - schedule.warmup_epochs, 1e-9)
        return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    raise InvalidInput(f"expected a schedule out of constant, steps, cosine; got {schedule.name!r}")


def set_rates(optimisers: list[torch.optim.Optimizer], share: float) -> None:
    """Learning rate of every group as a share of its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * share


@torch.no_grad()
def average(running: nn.Module, module: nn.Module, decay: float, steps: int) -> None:
    """Move ``running`` towards ``module``: weights and running statistics, by 1 - ``decay``.

    The first steps move it faster, (1 + n) / (10 + n), so that it forgets the random start.
    """
    decay = min(decay, (1 + steps) / (10 + steps))
    for kept, new in zip(running.state_dict().values(), module.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
