"""What has to be learnt: layers that cannot hold a block exactly, from the teacher's maps; classifiers, on renders."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.training.optimise import average
from dfer_edge.training.transplant.muon import Muon
from dfer_edge.training.transplant.teacher import MEAN, WIDTHS, Teacher

# RGB uint8 [B, 3, S, S] and labels [B], -1 for none.
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]
Report = Callable[[int, dict[str, float]], None]

LOGIT_SCALE = 2.0
"""What the teacher's logits are divided by before they are a target: it is surer than it is right."""
_SMOOTHING = 0.1
_CLIP = 1.0
DECAY = 0.995
"""Of the running mean of weights, which is what a training leaves."""
# Added to the scale of a channel, so that silent ones do not decide.
_FLOOR = 0.1


def network_input(pixels: torch.Tensor) -> torch.Tensor:
    """What the network reads, with mean ``MEAN`` and deviation 255 of pixels."""
    x = pixels.float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1) / 255
    return x.contiguous(memory_format=torch.channels_last)


def match(
    parts: Sequence[nn.Module],
    maps: Callable[[torch.Tensor], dict[int, torch.Tensor]],
    teacher: Teacher,
    batches: Batches,
    steps: int,
    rate: float,
    report: Report,
) -> None:
    """``parts`` learn maps of the teacher, each channel on its own scale, and what the teacher would pool from them.

    Parameters
    ----------
    maps
        From normalised images to maps by the number of the teacher's block.
    rate
        Of Muon, for kernels; biases learn by Adam at a tenth of it.
    """
    scales: dict[int | str, torch.Tensor] = {}

    def loss(pixels: torch.Tensor, _: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            seen = teacher(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            mine = {block: found.float() for block, found in maps(network_input(pixels)).items()}
        for block in mine:
            scales.setdefault(block, seen.maps[block].square().mean((0, 2, 3), keepdim=True).sqrt() + _FLOOR)
        scales.setdefault("pooled", seen.pooled.std(0) + _FLOOR / 2)
        terms = {f"map{b}": ((x - seen.maps[b]) / scales[b]).square().mean() for b, x in mine.items()}
        last = max(mine)
        pooled = teacher.pooled(last, mine[last])
        return terms | {"pooled": 0.5 * ((pooled - seen.pooled) / scales["pooled"]).square().mean()}

    _run(parts, loss, batches, steps, rate, report)


def match_pooled(
    parts: Sequence[nn.Module],
    features: Callable[[torch.Tensor], torch.Tensor],
    teacher: Teacher,
    batches: Batches,
    steps: int,
    rate: float,
    report: Report,
    labels: float = 0.35,
) -> None:
    """``parts`` learn features [B, 256] from which the teacher's pooled ones and the labels can be read linearly."""
    reader, classifier = (nn.Linear(WIDTHS[-1], out) for out in (WIDTHS[-1], teacher.classifier.out_features))
    scales: dict[str, torch.Tensor] = {}

    def loss(pixels: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            seen = teacher(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            mine = features(network_input(pixels))
        mine = mine.float()
        mean = scales.setdefault("mean", seen.pooled.mean(0))
        spread = scales.setdefault("spread", seen.pooled.std(0) + _FLOOR / 2)
        expected = target(classes, seen.logits, labels)
        return {
            "label": -(expected * F.log_softmax(classifier(mine), 1)).sum(1).mean(),
            "pooled": (reader(mine) - (seen.pooled - mean) / spread).square().mean(),
        }

    _run([*parts, reader, classifier], loss, batches, steps, rate, report)


def target(classes: torch.Tensor, logits: torch.Tensor, labels: float) -> torch.Tensor:
    """Probabilities [B, K] to learn: smoothed labels and the teacher's softened opinion."""
    return mixed(classes, torch.softmax(logits / LOGIT_SCALE, 1), labels)


def mixed(classes: torch.Tensor, opinion: torch.Tensor, labels: float) -> torch.Tensor:
    """Smoothed labels, in the share ``labels`` where there is one, and an opinion [B, K] in the rest."""
    kinds = opinion.shape[1]
    hard = F.one_hot(classes.clamp_min(0), kinds).float() * (1 - _SMOOTHING) + _SMOOTHING / kinds
    share = labels * (classes >= 0).float()[:, None]  # pictures have none
    return share * hard + (1 - share) * opinion


def cosine(step: int, steps: int, warm: int) -> float:
    """Share of the highest rate: a rise of ``warm`` steps on a cosine that ends at half a percent."""
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005


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
    parts: Sequence[nn.Module],
    loss: Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]],
    batches: Batches,
    steps: int,
    rate: float,
    report: Report,
) -> None:
    """Train ``parts`` alone for ``steps`` batches on a cosine; what is left in them is their moving average."""
    learnt = [parameter for part in parts for parameter in part.parameters()]
    for parameter in learnt:
        parameter.requires_grad_(True)
    kernels, biases = ([p for p in learnt if (p.ndim > 1) is wanted] for wanted in (True, False))
    optimisers = ((Muon(kernels, rate), rate), (torch.optim.Adam(biases, rate / 10), rate / 10))
    running = copy.deepcopy(nn.ModuleList(parts))
    for step, (pixels, classes) in zip(range(steps), batches, strict=False):
        terms = loss(pixels, classes)
        share = cosine(step, steps, 40)
        for optimiser, most in optimisers:
            optimiser.param_groups[0]["lr"] = most * share
            optimiser.zero_grad()
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        nn.utils.clip_grad_norm_(biases, _CLIP)
        for optimiser, _ in optimisers:
            optimiser.step()
        average(running, nn.ModuleList(parts), DECAY, step)
        report(step, {name: float(value.detach()) for name, value in terms.items()})
    nn.ModuleList(parts).load_state_dict(running.state_dict())
