"""``python -m dfer_edge.training.transplant``: from face-api's files and rendered images to weights of both SlowR50."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from pathlib import Path

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models import create_model
from dfer_edge.models.slowr50 import SlowR50
from dfer_edge.training.transplant import exact, fit
from dfer_edge.training.transplant.data import batches
from dfer_edge.training.transplant.images import ImageSlowR50
from dfer_edge.training.transplant.teacher import MEAN, SIZE, WIDTHS, Teacher, read_weights
from dfer_edge.weights import file as weights

# The crop is this many s wide (dfer_edge.faces.aligned), in the middle of boxes 2.8 s high.
SIDE = 2.4
_BOX_HEIGHT = 2.8


def network_for_people(name: str) -> SlowR50:
    """A SlowR50 or SlowR50-SA with the spec of the transplant: 112 pixels, colour, frames pooled at the apex."""
    network = create_model(name, pooling="apex", centre_taps=True).eval()
    if not isinstance(network, SlowR50):
        raise InvalidInput(f"expected slowr50_sa or slowr50, got {name}")
    red, green, blue = (round(value / 255, 6) for value in MEAN)
    network.spec = dataclasses.replace(
        network.spec,
        size=SIZE,
        mean=(red, green, blue),
        std=(1.0, 1.0, 1.0),
        face_margin=round(SIDE / _BOX_HEIGHT, 4),
        face_box="landmarks",
    )
    return network


@torch.no_grad()
def finish(images: ImageSlowR50, classifier: nn.Linear, name: str, temperature: float, apex: float) -> SlowR50:
    """The network ``name`` with a fitted classifier.

    Parameters
    ----------
    temperature
        Logits are divided by it, in the weights: confidence then means what it says.
    apex
        How much a frame counts for less the more neutral it is; 0 is the mean over time.
    """
    network = network_for_people(name)
    width, kinds = WIDTHS[-1], network.spec.num_classes
    images.classifier.weight.zero_()
    images.classifier.weight[:, :width] = classifier.weight / temperature
    images.classifier.bias.copy_(classifier.bias / temperature)
    images.write(network, width)
    neutral = network.spec.labels.index("neutral")
    # The logit of neutral against the mean of the others'.
    network.apex.weight.fill_(apex / (kinds - 1))
    network.apex.weight[0, neutral] = -apex
    return network


@torch.no_grad()
def pooled_features(
    images: ImageSlowR50, teacher: Teacher, found: fit.Batches, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features [N, 2048], labels [N] and the teacher's logits [N, 7] of ``count`` batches."""
    rows = []
    for pixels, classes in itertools.islice(found, count):
        maps = images.rest(images.first(fit.network_input(pixels)))
        rows.append((maps[-1].float().mean((2, 3)), classes, teacher(pixels).logits))
    features, classes, logits = (torch.cat(column) for column in zip(*rows, strict=True))
    return features, classes, logits


def _print(step: int, terms: dict[str, float]) -> None:
    if step % 25 == 0:
        print(step, " ".join(f"{name} {value:.3f}" for name, value in terms.items()), flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(prog="python -m dfer_edge.training.transplant", description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="folder with face-api's model files")
    parser.add_argument("--renders", type=Path, nargs="+", required=True, help="folders of dfer-edge synth --images")
    parser.add_argument("--out", type=Path, required=True, help="folder for slowr50_sa and slowr50.safetensors")
    parser.add_argument("--low-steps", type=int, default=250, help="batches of 64 for stem and res2 alone")
    parser.add_argument("--deep-steps", type=int, default=800, help="batches of 32 through the whole network")
    parser.add_argument("--labels", type=float, default=0.35, help="share of labels in the classifier's target")
    parser.add_argument("--fit-batches", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--apex", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    def draws(seed: int, batch: int) -> fit.Batches:
        return batches(arguments.renders, arguments.seed + seed, batch)

    teacher = Teacher(read_weights(arguments.teacher)).eval()
    shown = torch.cat([pixels for pixels, _ in itertools.islice(draws(1, 64), 3)])
    teacher.rescale(shown)
    found = exact.offsets(teacher, shown)
    images = ImageSlowR50(network_for_people("slowr50_sa"))
    exact.write(images, teacher, found, arguments.seed)
    fit.match_low(images, teacher, found, draws(2, 64), arguments.low_steps, 2e-3, _print)
    fit.match_deep(images, teacher, found, draws(3, 32), arguments.deep_steps, 4e-4, _print)
    rows = pooled_features(images, teacher, draws(4, 64), arguments.fit_batches)
    classifier = fit.mean_classifier(*rows, arguments.labels, seed=arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("slowr50_sa", "slowr50"):
        network = finish(images, classifier, name, arguments.temperature, arguments.apex)
        weights.save(arguments.out / f"{name}.safetensors", network, compact=True)


if __name__ == "__main__":
    main()
