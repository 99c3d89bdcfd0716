"""One training of a form, and how right it is afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from bench.studies.working_forms.seen import Seen
from dfer_edge.labels import DFEW
from dfer_edge.metrics import measure
from dfer_edge.system import cpu
from dfer_edge.training.optimise import build_optimisers, rate, set_rates
from dfer_edge.training.recipes import Losses, Optimiser, Schedule

BATCH = 32
_COSINE = Schedule("cosine")
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def entropy(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy."""
    return F.cross_entropy(network(inputs), labels)


def either_way(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over twice the classes: what is shown, and whether its frames run backwards; half of them do."""
    back = torch.rand(len(inputs)) < 0.5
    inputs = torch.where(back.view(-1, *[1] * (inputs.ndim - 1)), inputs.flip(1), inputs)
    return F.cross_entropy(network(inputs), labels + len(DFEW) * back)


def fit(
    make: Callable[[], nn.Module],
    seen: Seen,
    seed: int,
    epochs: int,
    peak: float,
    loss: Loss = entropy,
    losses: Losses | None = None,
    bf16: bool = True,
) -> nn.Module:
    """A network trained with AdamW and a cosine; start, order and dropout hang on the seed alone.

    ``losses`` are given where the network has centres, which have an optimiser of their own. ``bf16`` is used where the
    processor has its products.
    """
    torch.manual_seed(seed)
    network = make().train()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimisers = build_optimisers(network, Optimiser("adamw", peak, weight_decay=0.05), losses or Losses(), BATCH)
    steps = len(seen.labels) // BATCH
    for epoch in range(epochs):
        torch.manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(seen.labels))
        for step in range(steps):
            torch.manual_seed((1000 * seed + epoch) * 10_000 + step)
            set_rates(optimisers, rate(_COSINE, epoch + step / steps, epochs))
            chosen = order[step * BATCH : (step + 1) * BATCH]
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and cpu.has_bf16()):
                value = loss(network, seen.inputs[chosen].float(), seen.labels[chosen])
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_(learning, 1.0)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
    return network.eval()


@torch.no_grad()
def probabilities(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """float64 [N, K]."""
    return torch.cat([network(part.float()) for part in torch.split(inputs, BATCH)]).double().softmax(1)


def judged(said: torch.Tensor, seen: Seen) -> dict[str, float]:
    """Means over the sets: ``uar``, per cent, lost faces wrong, and ``log_loss``, of the faces that were found."""
    rows = []
    for name in dict.fromkeys((*seen.sets, *(name for name, _ in seen.lost))):
        kept = torch.tensor([one == name for one in seen.sets])
        lost = [label for own, label in seen.lost if own == name]
        found = measure(seen.labels[kept].numpy(), said[kept].numpy(), lost)
        rows.append((100 * found.uar, found.log_loss))
    return dict(zip(("uar", "log_loss"), map(float, np.mean(rows, 0)), strict=True))


def directions(network: nn.Module, seen: Seen) -> Mapping[str, float]:
    """Of a network of :func:`either_way`: as :func:`judged`, and ``direction``, per cent told from its reverse."""
    forth, back = (probabilities(network, inputs) for inputs in (seen.inputs, seen.inputs.flip(1)))
    half = len(DFEW)
    right = [(forth[:, :half].sum(1) > 0.5).double().mean(), (back[:, half:].sum(1) > 0.5).double().mean()]
    return {**judged(forth[:, :half] + forth[:, half:], seen), "direction": 50 * float(sum(right))}
