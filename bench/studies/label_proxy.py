"""The proxy loop: which data and training choices are worth a training of the real networks, in minutes a run.

    python -m bench.studies.label_proxy REAL MORE --renders FOLDER --teacher FACE_API --detector YUNET --out PROXY.json

Each choice trains a small network (0.3 M parameters, 64 pixels) on rendered images alone, or reads a public network's
features with a linear layer fitted on them, once a seed; crops of real people judge it and are not trained on. A choice
differs from ``base`` in what its line says. Differences below the spread of the seeds are none.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from bench.studies.real_people.crops import READ_MARGIN, Crops, crops
from bench.studies.real_people.faces import finders
from bench.studies.real_people.judge import names, summary
from bench.studies.real_people.run import Row, Run
from bench.studies.real_people.samples import Sample, find
from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.labels import DFEW
from dfer_edge.system.provenance import versions
from dfer_edge.system.whole_files import write_text
from dfer_edge.training.recipes import Crop, Pixels
from dfer_edge.training.transplant import data, fit
from dfer_edge.training.transplant.teacher import SIZE, Teacher, normalised, read_weights

_SMALL, _WIDTHS, _BATCH, _RATE, _WARM = 64, (24, 48, 96, 160), 64, 2e-3, 100
# Cycles a pixel below which amplitudes are swapped: light, colour and shade, not edges.
_LOW = 0.05


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is tried.

    Attributes
    ----------
    labels
        Share of the renders' labels in the target; the rest is the teacher's opinion.
    reads
        ``small``: a small network learns from pixels. ``teacher``: a linear layer on the teacher's pooled features.
    crop, look
        What is cut around a rendered face, and what happens to its pixels.
    random_convolutions
        Share of images that a random 3x3 or 5x5 kernel filters (Xu et al., ICLR 2021).
    mixstyle
        Share of batches whose feature statistics are mixed between images (Zhou et al., ICLR 2021).
    amplitudes
        Share of images whose low frequencies take part of another image's amplitude (Xu et al., CVPR 2021).
    """

    labels: float = 1.0
    reads: str = "small"
    crop: Crop = data.CROP
    look: Pixels = data.PIXELS
    random_convolutions: float = 0.0
    mixstyle: float = 0.0
    amplitudes: float = 0.0


CHOICES = {
    "base": Choice(),
    "plain-pixels": Choice(look=Pixels()),
    "grey": Choice(look=dataclasses.replace(data.PIXELS, grey=1.0)),
    "wide-crops": Choice(crop=dataclasses.replace(data.CROP, side=(1.9, 3.2))),
    "random-convolutions": Choice(random_convolutions=0.5),
    "mixstyle": Choice(mixstyle=0.5),
    "fourier": Choice(amplitudes=0.5),
    "teacher-third": Choice(labels=0.35),
    "teacher-alone": Choice(labels=0.0),
    "features-third": Choice(labels=0.35, reads="teacher"),
    "features-labels": Choice(labels=1.0, reads="teacher"),
}


class Small(nn.Module):
    """Four residual stages on 64 pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, *_WIDTHS)
        self.entries = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in _WIDTHS)
        self.bodies = nn.ModuleList(_body(width) for width in _WIDTHS)
        self.classifier = nn.Linear(_WIDTHS[-1], classes)

    def forward(self, pixels: torch.Tensor, mixed: float = 0.0) -> torch.Tensor:
        """Logits of uint8 RGB [B, 3, S, S]; ``mixed``: probability of mixed statistics after each of two stages."""
        x = F.interpolate(normalised(pixels), (_SMALL, _SMALL), mode="bilinear", antialias=True)
        for stage, (entry, norm, body) in enumerate(zip(self.entries, self.norms, self.bodies, strict=True)):
            x = torch.relu(norm(entry(x)))
            x = torch.relu(x + body(x))
            if stage < 2 and mixed and float(torch.rand(())) < mixed:
                x = _mixed_statistics(x)
        logits: torch.Tensor = self.classifier(x.mean((2, 3)))
        return logits


def _body(width: int) -> nn.Module:
    first, second = (nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(2))
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(width))


def _mixed_statistics(x: torch.Tensor) -> torch.Tensor:
    mean, deviation = x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
    share = torch.distributions.Beta(0.3, 0.3).sample((len(x), 1, 1, 1))
    other = torch.randperm(len(x))
    mixed = deviation * share + deviation[other] * (1 - share), mean * share + mean[other] * (1 - share)
    return (x - mean) / deviation * mixed[0].detach() + mixed[1].detach()


def _filtered(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Some images through kernels of their own, at their own mean and deviation."""
    chosen = torch.rand(len(pixels)) < share
    x = pixels[chosen].float()
    if not len(x):
        return pixels
    side = 2 * int(torch.randint(1, 3, ())) + 1
    kernels = torch.randn(len(x) * 3, 3, side, side) / side
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels, padding=side // 2, groups=len(x)).reshape(x.shape)
    y = (y - y.mean((1, 2, 3), keepdim=True)) / (y.std((1, 2, 3), keepdim=True) + 1e-3)
    out = pixels.clone()
    out[chosen] = (y * x.std((1, 2, 3), keepdim=True) + x.mean((1, 2, 3), keepdim=True)).clamp(0, 255).to(torch.uint8)
    return out


def _swapped(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Some images with low frequencies of another's strength, mixed by a random share; phases stay."""
    chosen = torch.rand(len(pixels)) < share
    if not chosen.any():
        return pixels
    spectrum = torch.fft.fft2(pixels[chosen].float())
    strength = spectrum.abs()
    other = strength[torch.randperm(len(strength))]
    side = pixels.shape[-1]
    near = torch.fft.fftfreq(side).abs() < _LOW
    mixed = torch.rand(len(strength), 1, 1, 1) * (near[:, None] & near[None])
    y = torch.fft.ifft2(torch.polar(strength + mixed * (other - strength), spectrum.angle())).real
    out = pixels.clone()
    out[chosen] = y.clamp(0, 255).to(torch.uint8)
    return out


def train(
    choice: Choice, teacher: Teacher, renders: Sequence[Path], seed: int, steps: int, shown: torch.Tensor
) -> torch.Tensor:
    """Logits [N, K] of the crops ``shown`` (uint8 [N, 3, 112, 112]) after a training of ``steps`` batches of 64."""
    torch.manual_seed(seed)
    batches = data.batches(renders, seed, _BATCH, crop=choice.crop, look=choice.look)
    if choice.reads == "teacher":
        return _linear(choice, teacher, itertools.islice(batches, steps), seed, shown)
    net = Small(len(DFEW))
    optimiser = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=0.05)
    for step, (pixels, classes) in enumerate(itertools.islice(batches, steps)):
        with torch.no_grad():
            opinion = teacher(pixels).logits if choice.labels < 1 else torch.zeros(len(pixels), len(DFEW))
        wanted = fit.target(classes, opinion, choice.labels)
        optimiser.param_groups[0]["lr"] = _RATE * fit.cosine(step, steps, _WARM)
        altered = _swapped(_filtered(pixels, choice.random_convolutions), choice.amplitudes)
        logits = net(altered, choice.mixstyle)
        loss = -(wanted * F.log_softmax(logits, 1)).sum(1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in torch.split(shown, _BATCH)])


def _linear(choice: Choice, teacher: Teacher, batches: Any, seed: int, shown: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        rows = [(seen.pooled, classes, seen.logits) for seen, classes in ((teacher(x), y) for x, y in batches)]
        features, classes, logits = (torch.cat(column) for column in zip(*rows, strict=True))
    found = fit.mean_classifier(features, classes, logits, choice.labels, seed=seed)
    with torch.no_grad():
        return torch.cat([found(teacher(part).pooled) for part in torch.split(shown, _BATCH)])


def judged(name: str, logits: torch.Tensor, seen: Crops, samples: Sequence[Sample]) -> dict[str, Any]:
    """Means over the sets of each group; the frames of a sample are averaged in the logarithm."""
    scores = F.log_softmax(logits, 1).double().numpy()
    rows = []
    for number, sample in enumerate(samples):
        own = scores[seen.sample == number]
        probabilities = np.exp(own.mean(0)) / np.exp(own.mean(0)).sum() if len(own) else None
        rows.append(Row(sample.group, *sample.key, None if probabilities is None else tuple(probabilities.tolist())))
    run = Run(name, tuple(DFEW), tuple(rows), {})
    keys = ("uar", "log_loss", "ece_pooled", "recall")
    found = {group: summary(run, group) for group in names(rows, "group")}
    return {group: {key: figures[key] for key in keys} for group, figures in found.items()}


def table(found: dict[str, list[dict[str, Any]]], group: str) -> str:
    """Markdown, the best first: mean over the seeds and how far they lie apart."""
    lines = ["| choice | mean UAR % (apart) | log loss (apart) |", "|---|---|---|"]
    rows = []
    for name, runs in found.items():
        uar, loss = (np.array([run[group][key] for run in runs]) for key in ("uar", "log_loss"))
        cells = f"{100 * uar.mean():.1f} ({100 * np.ptp(uar):.1f}) | {loss.mean():.3f} ({np.ptp(loss):.3f})"
        rows.append((-uar.mean(), f"| {name} | {cells} |"))
    return "\n".join([*lines, *(line for _, line in sorted(rows))])


def _kept(path: Path | None, steps: int) -> dict[str, list[dict[str, Any]]]:
    """What a run that ended early left in its file: seeds in order."""
    if path is None or not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["steps"] != steps:
        raise InvalidInput(f"expected {path} to be of {steps} batches, got {document['steps']}: name another file")
    kept: dict[str, list[dict[str, Any]]] = document["choices"]
    return kept


def main(words: list[str] | None = None) -> int:
    """Run the choices; 2 for what is asked wrongly, an absent or half cut folder too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of sets of real people: they judge alone")
    parser.add_argument("--renders", type=Path, nargs="+", required=True, help="folders of dfer-edge synth --images")
    parser.add_argument("--teacher", type=Path, required=True, help="folder with face-api's model files")
    parser.add_argument("--choices", nargs="+", metavar="NAME", default=list(CHOICES), help=", ".join(CHOICES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--any-size", action="store_true", help="do not ask that the validation part be whole")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(words)
    try:
        unknown = set(given.choices) - set(CHOICES)
        if unknown:
            raise InvalidInput(f"expected choices among {', '.join(CHOICES)}, got {', '.join(sorted(unknown))}")
        torch.set_num_threads(given.threads)
        samples = [s for folder in given.folders for s in find(folder, DFEW, any_size=given.any_size)]
        detector, landmarks = finders(samples, given.detector, threads=given.threads)
        seen = crops(samples, detector, landmarks, SIZE, READ_MARGIN)
        shown = torch.from_numpy(seen.pixels).permute(0, 3, 1, 2).contiguous()
        teacher = Teacher(read_weights(given.teacher)).eval()
        found = _kept(given.out, given.steps)
        for name in given.choices:
            runs = found.setdefault(name, [])
            for seed in range(len(runs), given.seeds):
                logits = train(CHOICES[name], teacher, given.renders, seed, given.steps, shown)
                runs.append(judged(name, logits, seen, samples))
                document = {"steps": given.steps, "lost": len(seen.lost), "provenance": versions(), "choices": found}
                if given.out is not None:
                    write_text(given.out, json.dumps(document, indent=1) + "\n")
        for group in dict.fromkeys(sample.group for sample in samples):
            print(f"{group}, {given.steps} batches, {given.seeds} seeds\n\n{table(found, group)}\n")
    except DferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
