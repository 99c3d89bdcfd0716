"""What keypoint_tsa has after its backbone, learnt on clips put together from single images and on rendered clips.

Each clip shows one face with an expression in all of its frames or in a run of some, and a neutral one in the others.
What to say is mostly what a classifier of the pooled features says, frames pooled at the apex; the label has a share.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models.keypoint import LOSS_WEIGHTS, KeypointTSA, RegionGraph
from dfer_edge.training.optimise import average
from dfer_edge.training.transplant.fit import DECAY, cosine, mixed

# Clips whose every frame shows the expression; the others show it in a run of this many frames.
_STILL = 0.4
_RUN = (2, 13)
# Share of rendered clips, where there are any.
_FILMED = 0.5
# Deviations of what is added to features, as shares of theirs, and of a common factor.
_NOISE, _GAIN = 0.06, 0.04
# A gate of sigmoid(15) is 1: what passes through triplet attention has no training of its own yet.
_OPEN = 15.0


@dataclasses.dataclass(frozen=True)
class Rows:
    """Images: nodes [N, 18, 512], whole faces [N, 512], labels [N] and logits [N, K] of their classifier.

    The first ``singles`` (None: all) are single images; after them come the frames of rendered clips, clip by clip.
    """

    nodes: torch.Tensor
    whole: torch.Tensor
    classes: torch.Tensor
    logits: torch.Tensor
    singles: int | None = None

    def clips(self, count: int, frames: int, neutral: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Rows [B, T] of clips drawn at random, and the classes [B] that they show."""
        singles = len(self.classes) if self.singles is None else self.singles
        shown = torch.randint(0, singles, (count,), generator=generator)
        calm = torch.nonzero(self.classes[:singles] == neutral)[:, 0]
        calm = calm[torch.randint(0, len(calm), (count,), generator=generator)]
        draws = torch.rand(count, 3, generator=generator)
        run = (_RUN[0] + draws[:, 1] * (_RUN[1] - _RUN[0])).long()
        run = torch.where(draws[:, 0] < _STILL, torch.full_like(run, frames), run)
        start = ((frames - run + 1) * draws[:, 2]).long()
        times = torch.arange(frames)[None]
        on = (times >= start[:, None]) & (times < (start + run)[:, None])
        index, classes = torch.where(on, shown[:, None], calm[:, None]), self.classes[shown]
        filmed = (len(self.classes) - singles) // frames
        if filmed:
            first = singles + frames * torch.randint(0, filmed, (count,), generator=generator)
            chosen = torch.rand(count, generator=generator) < _FILMED
            index = torch.where(chosen[:, None], first[:, None] + times, index)
            classes = torch.where(chosen, self.classes[first], classes)
        return index, classes


@torch.no_grad()
def prepare(network: KeypointTSA, whole: torch.Tensor) -> None:
    """Open the gates of the triplet attention and bring the graph's first layers to the scale of ``whole`` [N, 512]."""
    for gate in network.triplet.gates.children():
        conv, norm = gate.get_submodule("conv"), gate.get_submodule("norm")
        for parameter in (*conv.parameters(), *norm.parameters()):
            parameter.zero_()
        norm.get_parameter("bias").fill_(_OPEN)
    graph, scale = _graph(network), whole.std(0) + 0.02
    graph.fc.weight.div_(5 * scale)
    graph.relation.weight.div_(20 * scale[:, None] * scale)


def _graph(network: KeypointTSA) -> RegionGraph:
    if network.regions is None:
        raise InvalidInput("expected a network with its graph of key points")
    return network.regions


def away_from_neutral(kinds: int, neutral: int, weight: float) -> torch.Tensor:
    """Weights of logits [K]: neutral against the mean of the others; the more neutral a frame, the less it counts."""
    away = torch.full((kinds,), weight / (kinds - 1))
    away[neutral] = -weight
    return away


def apex(logits: torch.Tensor, neutral: int, weight: float) -> torch.Tensor:
    """Logits [B, K] of clips from those of their frames [B, T, K]: the less neutral a frame, the more it counts."""
    attention = (logits @ away_from_neutral(logits.shape[-1], neutral, weight)).softmax(1)
    pooled: torch.Tensor = (attention[..., None] * logits).sum(1)
    return pooled


def train(
    network: KeypointTSA,
    rows: Rows,
    steps: int,
    report: Callable[[int, dict[str, float]], None],
    batch: int = 24,
    rate: float = 4e-4,
    labels: float = 0.3,
    weight: float = 0.7,
    seed: int = 0,
) -> None:
    """Graph, temporal transformer and both heads learn; what is left in them is their moving average."""
    neutral, frames = network.spec.labels.index("neutral"), network.spec.frames
    graph = _graph(network)
    parts = (graph, network.temporal, network.head, network.auxiliary)
    learnt = [parameter for part in parts for parameter in part.parameters()]
    running = copy.deepcopy(nn.ModuleList(parts))
    spread = rows.whole.std(0) + 0.02
    optimiser = torch.optim.AdamW(learnt, rate, weight_decay=0.05)
    for step in range(steps):
        generator = torch.Generator().manual_seed(seed * steps + step)
        optimiser.param_groups[0]["lr"] = rate * cosine(step, steps, 100)
        index, classes = rows.clips(batch, frames, neutral, generator)
        flat = index.flatten()
        gain = 1 + _GAIN * torch.randn(len(flat), 1, generator=generator)
        noise = _NOISE * spread * torch.randn(len(flat), len(spread), generator=generator)
        nodes = rows.nodes[flat].float() * gain[:, :, None] + noise[:, None]
        features = graph(nodes, rows.whole[flat] * gain + noise).view(batch, frames, -1)
        with torch.no_grad():
            expected = mixed(classes, apex(rows.logits[index], neutral, weight).softmax(1), labels)
        losses = [
            -(expected * F.log_softmax(logits, 1)).sum(1).mean()
            for logits in (network.forward_auxiliary(features), network.forward_head(features))
        ]
        optimiser.zero_grad()
        torch.autograd.backward(LOSS_WEIGHTS[0] * losses[0] + LOSS_WEIGHTS[1] * losses[1])
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        average(running, nn.ModuleList(parts), DECAY, step)
        report(step, {"auxiliary": float(losses[0].detach()), "label": float(losses[1].detach())})
    nn.ModuleList(parts).load_state_dict(running.state_dict())
