"""``python -m dfer_edge.training.transplant``: from face-api's files and rendered images to the weights that ship."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from dfer_edge.models.keypoint import KeypointTSA
from dfer_edge.models.r2plus1d import R2Plus1D
from dfer_edge.models.slowr50 import SlowR50
from dfer_edge.training.transplant import clips, exact, fit, people, r2plus1d, resnet18
from dfer_edge.training.transplant.data import batches, with_landmarks
from dfer_edge.training.transplant.equalise import equalise
from dfer_edge.training.transplant.images import ImageSlowR50
from dfer_edge.training.transplant.silent import silence
from dfer_edge.training.transplant.teacher import WIDTHS, Teacher, read_weights
from dfer_edge.weights import file as weights

NETWORKS = ("slowr50_sa", "r2plus1d_sta", "keypoint_tsa")
_LOW_RATE, _DEEP_RATE, _LAYER3_RATE = 0.01, 0.003, 0.008


class Transplant:
    """What the three networks share: the teacher, its offsets, the draws.

    Parameters
    ----------
    arguments
        Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.teacher = Teacher(read_weights(arguments.teacher)).eval()
        self.shown = torch.cat([pixels for pixels, _ in itertools.islice(self.draws(1, 64), 3)])
        self.teacher.rescale(self.shown)
        self.found = exact.offsets(self.teacher, self.shown)
        # Where every sum has channels of its own nothing has to be cut.
        uncut = exact.offsets(self.teacher, self.shown, (0.003, 0.003))
        self.wide = {name: 2 * value + 0.3 for name, value in uncut.items()}

    def draws(self, seed: int, batch: int = 64, pictures: bool = False) -> fit.Batches:
        """Batches of one of several streams."""
        folder = self.arguments.pictures if pictures else None
        return batches(self.arguments.renders, self.arguments.seed + seed, batch, pictures=folder)

    @torch.no_grad()
    def classifier(self, features: Callable[[torch.Tensor], torch.Tensor]) -> nn.Linear:
        """A linear layer on pooled features, fitted on renders; softened by the temperature asked for."""
        rows = []
        for pixels, classes in itertools.islice(self.draws(4), self.arguments.fit_batches):
            rows.append((features(fit.network_input(pixels)), classes, self.teacher(pixels).logits))
        inputs, classes, logits = (torch.cat(column) for column in zip(*rows, strict=True))
        found = fit.mean_classifier(inputs, classes, logits, self.arguments.labels, seed=self.arguments.seed)
        people.soften(found, self.arguments.temperature)
        return found

    def slowr50(self) -> None:
        """slowr50_sa and slowr50."""
        images = ImageSlowR50(people.slowr50("slowr50_sa"))
        exact.write(images, self.teacher, self.found, self.arguments.seed)
        images.requires_grad_(False)
        low, deep = self.arguments.low_steps, self.arguments.deep_steps

        def maps(x: torch.Tensor) -> dict[int, torch.Tensor]:
            return {1: exact.map_of(self.found, 1, images.first(x))}

        fit.match(
            [images.stem, images.stages[0]], maps, self.teacher, self.draws(2, pictures=True), low, _LOW_RATE, _print
        )

        def more(x: torch.Tensor) -> dict[int, torch.Tensor]:
            first = images.first(x)
            second = images.stages[1](first)
            return {1: exact.map_of(self.found, 1, first), 2: exact.map_of(self.found, 2, second)}

        fit.match(
            [images.stem, images.stages[0]], more, self.teacher, self.draws(3, pictures=True), deep, _DEEP_RATE, _print
        )
        silence(images, WIDTHS[-1])
        equalise(images, fit.network_input(self.shown))
        found = self.classifier(lambda x: images.rest(images.first(x))[-1].mean((2, 3)))
        for name in ("slowr50_sa", "slowr50"):
            self.save(people.finish_slowr50(images, found, name))

    def r2plus1d_sta(self) -> None:
        """r2plus1d_sta."""
        images = r2plus1d.ImageR2Plus1D(people.r2plus1d())
        r2plus1d.write_exact(images, self.teacher, self.wide)
        images.requires_grad_(False)

        def features(x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                low = images.first(x)
            return images.last(low).mean((2, 3))

        steps = self.arguments.deep_steps
        draws = self.draws(5, 48, pictures=True)
        fit.match_pooled([images.stages[2]], features, self.teacher, draws, steps, _LAYER3_RATE, _print)
        self.save(people.finish_r2plus1d(images, self.classifier(features)))

    def keypoint_tsa(self) -> None:
        """keypoint_tsa."""
        network = people.keypoint()
        images = resnet18.ImageResNet18(network.backbone, network.spec.num_classes)
        resnet18.write_exact(images, self.teacher, self.wide)
        images.requires_grad_(False)

        def maps(x: torch.Tensor) -> dict[int, torch.Tensor]:
            return dict(enumerate(images.first(x), start=1))

        low = [images.stem, images.stages[0], images.stages[1]]
        steps = self.arguments.low_steps
        fit.match(low, maps, self.teacher, self.draws(6, pictures=True), steps, _LOW_RATE, _print)
        images.write(network.backbone)
        found = self.classifier(lambda x: images.last(images.first(x)[1]).mean((2, 3))[:, : WIDTHS[-1]])
        table = self.rows(network, found)
        clips.prepare(network, table.whole)
        clips.train(network, table, self.arguments.clip_steps, _print)
        self.save(network)

    @torch.no_grad()
    def rows(self, network: KeypointTSA, classifier: nn.Linear) -> clips.Rows:
        """What the backbone makes of single renders and, where asked for, of rendered clips."""
        own, count = self.arguments, network.spec.frames
        streams = [itertools.islice(with_landmarks(own.renders, own.seed + 7, 64), own.fit_batches)]
        if own.motion:
            filmed = with_landmarks(own.motion, own.seed + 8, 4, frames=count)
            streams.append(itertools.islice(filmed, own.motion_batches))
        found, singles = [], 0
        for number, stream in enumerate(streams):
            for pixels, points, classes in stream:
                nodes, whole = network.pooling(network.backbone(fit.network_input(pixels)), points)
                of_frames = classes.repeat_interleave(len(pixels) // len(classes))
                found.append((nodes.half(), whole, of_frames, classifier(whole[:, : WIDTHS[-1]])))
                singles += 0 if number else len(pixels)
        nodes, whole, classes, logits = (torch.cat(column) for column in zip(*found, strict=True))
        return clips.Rows(nodes, whole, classes, logits, singles)

    def save(self, network: SlowR50 | R2Plus1D | KeypointTSA) -> None:
        """Write a network in int8 per output channel."""
        name = network.spec.name
        weights.save(self.arguments.out / f"{name}.safetensors", network.eval(), compact=True)


def _print(step: int, terms: dict[str, float]) -> None:
    if step % 25 == 0:
        print(step, " ".join(f"{name} {value:.3f}" for name, value in terms.items()), flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(prog="python -m dfer_edge.training.transplant", description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="folder with face-api's model files")
    parser.add_argument("--renders", type=Path, nargs="+", required=True, help="folders of dfer-edge synth --images")
    parser.add_argument(
        "--motion", type=Path, nargs="+", help="folders of dfer-edge synth of 16 frames, for keypoint_tsa"
    )
    parser.add_argument("--motion-batches", type=int, default=700, help="of four clips")
    parser.add_argument("--pictures", type=Path, help="folder of photographs of anything but people")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights files")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--low-steps", type=int, default=4000, help="batches for the layers before the exact ones")
    parser.add_argument("--deep-steps", type=int, default=2000, help="batches through more of the network")
    parser.add_argument("--clip-steps", type=int, default=1500, help="batches of clips for keypoint_tsa")
    parser.add_argument("--labels", type=float, default=0.35, help="share of labels in the classifier's target")
    parser.add_argument("--fit-batches", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=1.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    transplant = Transplant(arguments)
    runs = {
        "slowr50_sa": transplant.slowr50,
        "r2plus1d_sta": transplant.r2plus1d_sta,
        "keypoint_tsa": transplant.keypoint_tsa,
    }
    for name in arguments.networks:
        print(name, flush=True)
        runs[name]()


if __name__ == "__main__":
    main()
