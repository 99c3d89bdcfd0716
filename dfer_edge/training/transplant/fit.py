"""What has to be learnt: stem and res2 against the teacher's maps, then the classifier on renders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.training.transplant.exact import Offsets, maps
from dfer_edge.training.transplant.images import ImageSlowR50
from dfer_edge.training.transplant.teacher import MEAN, WIDTHS, Teacher

# RGB uint8 [B, 3, S, S] and labels [B].
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
Report = Callable[[int, dict[str, float]], None]

LOGIT_SCALE = 2.0
"""What the teacher's logits are divided by before they are a target: it is surer than it is right."""
_SMOOTHING = 0.1
_CLIP = 1.0


def network_input(pixels: torch.Tensor) -> torch.Tensor:
    """What the network reads, with mean ``MEAN`` and deviation 255 of pixels."""
    x = pixels.float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1) / 255
    return x.contiguous(memory_format=torch.channels_last)


def relative(actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Squared error over the square of what is expected."""
    return F.mse_loss(actual, expected) / expected.square().mean()


def match_low(
    images: ImageSlowR50, teacher: Teacher, found: Offsets, batches: Batches, steps: int, rate: float, report: Report
) -> None:
    """Stem and res2 learn the map of the teacher's block 1; nothing after it is computed."""

    def loss(pixels: torch.Tensor, _: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            expected = teacher(pixels).maps[1]
        with torch.autocast("cpu", torch.bfloat16):
            first = images.first(network_input(pixels))
        return {"map": relative(maps(images, found, first, [])[0], expected)}

    _run([images.stem, images.stages[0]], images, loss, batches, steps, rate, report)


def match_deep(
    images: ImageSlowR50,
    teacher: Teacher,
    found: Offsets,
    batches: Batches,
    steps: int,
    rate: float,
    report: Report,
    labels: float = 0.5,
) -> None:
    """Stem and res2 learn what the exact stages after them need; the classifier learns along.

    ``labels`` is the share of the renders' labels in the target, the rest is the teacher's opinion.
    """

    def loss(pixels: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            seen = teacher(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            first = images.first(network_input(pixels))
            rest = images.rest(first)
        mine = maps(images, found, first, rest)
        logits = images.classifier(F.dropout(rest[-1].float().mean((2, 3)), 0.1))
        expected = target(classes, seen.logits, labels)
        return {
            "label": -(expected * F.log_softmax(logits, 1)).sum(1).mean(),
            "pooled": relative(mine[-1].mean((2, 3)), seen.pooled),
            "maps": 0.5 * torch.stack([relative(*pair) for pair in zip(mine, seen.maps[1:], strict=True)]).sum(),
        }

    _run([images.stem, images.stages[0], images.classifier], images, loss, batches, steps, rate, report)


def target(classes: torch.Tensor, logits: torch.Tensor, labels: float) -> torch.Tensor:
    """Probabilities [B, K] to learn: smoothed labels and the teacher's softened opinion."""
    kinds = logits.shape[1]
    hard = F.one_hot(classes, kinds).float() * (1 - _SMOOTHING) + _SMOOTHING / kinds
    return labels * hard + (1 - labels) * torch.softmax(logits / LOGIT_SCALE, 1)


def fit_classifier(
    features: torch.Tensor, classes: torch.Tensor, logits: torch.Tensor, labels: float, steps: int = 700, seed: int = 0
) -> nn.Linear:
    """A linear classifier of pooled features [N, C]; the first ``WIDTHS[-1]`` of them are read."""
    generator = torch.Generator().manual_seed(seed)
    width = WIDTHS[-1]
    scale = features[:, :width].std(0) + 1e-3
    x, expected = features[:, :width] / scale, target(classes, logits, labels)
    linear = nn.Linear(width, logits.shape[1])
    nn.init.normal_(linear.weight, 0.0, width**-0.5, generator)
    nn.init.zeros_(linear.bias)
    optimiser = torch.optim.AdamW(linear.parameters(), 3e-3, weight_decay=0.05)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (512,), generator=generator)
        loss = -(expected[rows] * F.log_softmax(linear(x[rows]), 1)).sum(1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    with torch.no_grad():
        linear.weight.div_(scale)
    return linear


@torch.no_grad()
def mean_classifier(
    features: torch.Tensor, classes: torch.Tensor, logits: torch.Tensor, labels: float, fits: int = 5, seed: int = 0
) -> nn.Linear:
    """The mean of ``fits`` of :func:`fit_classifier` from different seeds."""
    with torch.enable_grad():
        found = [fit_classifier(features, classes, logits, labels, seed=seed + number) for number in range(fits)]
    mean = found[0]
    mean.weight.copy_(torch.stack([linear.weight for linear in found]).mean(0))
    mean.bias.copy_(torch.stack([linear.bias for linear in found]).mean(0))
    return mean


def _run(
    parts: list[nn.Module],
    images: ImageSlowR50,
    loss: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]],
    batches: Batches,
    steps: int,
    rate: float,
    report: Report,
) -> None:
    """Train ``parts`` for ``steps`` batches on a cosine; what is left in them is their moving average."""
    images.requires_grad_(False)
    learnt = [parameter for part in parts for parameter in part.parameters()]
    for parameter in learnt:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learnt, rate, weight_decay=0.01)
    average = [parameter.detach().clone() for parameter in learnt]
    for step, (pixels, classes) in zip(range(steps), batches, strict=False):
        warm = min(1.0, (step + 1) / 20)
        optimiser.param_groups[0]["lr"] = rate * (warm * 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        terms = loss(pixels, classes)
        optimiser.zero_grad()
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        nn.utils.clip_grad_norm_(learnt, _CLIP)
        optimiser.step()
        keep = min(0.99, (step + 1) / (step + 10))
        for mean, parameter in zip(average, learnt, strict=True):
            mean.mul_(keep).add_(parameter.detach(), alpha=1 - keep)
        report(step, {name: float(value.detach()) for name, value in terms.items()})
    with torch.no_grad():
        for mean, parameter in zip(average, learnt, strict=True):
            parameter.copy_(mean)
