"""The training loop of the landmark network: renders from shards, one-cycle AdamW, averaged weights, exact resume."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.training.checkpoint import publish
from dfer_edge.training.landmarks.convention import annotated
from dfer_edge.training.landmarks.crops import Jitter, training_crop
from dfer_edge.training.landmarks.network import DENSE, POINTS, LandmarkNet, dense_loss, loss
from dfer_edge.training.landmarks.render import detectors_box, read_shards
from dfer_edge.training.landmarks.start import net_of
from dfer_edge.training.optimise import average

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that, with the renders, decides the weights.

    Attributes
    ----------
    images
        The first so many of the rendered set; 0 for all.
    steps, batch
        Each step takes a batch of crops.
    stop
        Leave the schedule after so many steps; 0 for its end.
    rate, warm_up, weight_decay
        AdamW's highest rate, the share of steps until it is reached, and its decay.
    average
        Weight of the past in the running mean of the weights.
    dense
        Weight of the distance of the dense points.
    start
        sha256 of the checkpoint of an earlier stage or of an exported file, empty for random weights.
    """

    images: int = 0
    steps: int = 12_000
    stop: int = 0
    batch: int = 96
    rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05
    average: float = 0.999
    dense: float = 15.0
    seed: int = 0
    start: str = ""


@dataclass(frozen=True)
class Renders:
    """Images of :mod:`render` held in memory.

    Attributes
    ----------
    grey
        uint8 [N, S, S].
    points
        float32 [N, 68 + 140, 2], pixels: landmarks as annotators place them, then dense vertices.
    boxes
        float32 [N, 3]: centre x, y and longer side of a detector's box, pixels.
    """

    grey: np.ndarray
    points: np.ndarray
    boxes: np.ndarray

    @classmethod
    def read(cls, folder: Path, images: int = 0) -> Renders:
        """Read the first ``images``, or all.

        Raises
        ------
        SourceNotFound, CorruptArtifact
            No rendered set, or a damaged one.
        InvalidInput
            Fewer images than asked for, or public networks were not asked.
        """
        shards = read_shards(folder, images)
        landmarks, head = shards["landmarks"], shards["head"]
        if shards["public"].shape[1] != 2:
            raise InvalidInput(f"expected answers of two public networks in {folder}", "render with --ask FILE FILE")
        points = annotated(landmarks, shards["public"], head)
        boxes = np.stack([detectors_box(*pair) for pair in zip(landmarks, head, strict=True)])
        both = np.concatenate([points, shards["marked"][:, -DENSE:]], axis=1)
        return cls(shards["grey"], both.astype(np.float32), boxes.astype(np.float32))


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def make_batch(renders: Renders, recipe: Recipe, step: int, jitter: Jitter) -> Batch:
    """The batch of a step: a function of seed and step alone, so that resuming repeats nothing and skips nothing."""
    rng = np.random.default_rng([recipe.seed, step])
    chosen = rng.integers(len(renders.grey), size=recipe.batch)
    crops = [
        training_crop(rng, renders.grey[i], renders.points[i].astype(np.float64), renders.boxes[i], jitter)
        for i in chosen
    ]
    grey, points, face = (np.stack(part) for part in zip(*crops, strict=True))
    return torch.from_numpy(grey)[:, None], torch.from_numpy(points), torch.from_numpy(face.astype(np.float32))


def _batches(renders: Renders, recipe: Recipe, start: int, jitter: Jitter) -> Iterator[Batch]:
    """Batches from ``start`` on, made ahead in a thread while the network trains."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make_batch, renders, recipe, step, jitter) for step in range(start, start + 4)]
        for step in range(start, recipe.stop or recipe.steps):
            ready = ahead.pop(0).result()
            ahead.append(pool.submit(make_batch, renders, recipe, step + 4, jitter))
            yield ready


def total_loss(net: LandmarkNet, batch: Batch, dense_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a batch and the mean distance of its landmarks."""
    grey, points, face = batch
    with torch.autocast("cpu", torch.bfloat16):
        features = net.features(grey.to(memory_format=torch.channels_last))
        outputs, dense = net.answers(features), net.dense_points(features)
    total, distance = loss(outputs, points[:, :POINTS], face)
    if dense_weight:
        seen = face * torch.isfinite(points[:, -1, 0])
        total = total + dense_weight * dense_loss(dense, torch.nan_to_num(points[:, POINTS:]), seen)
    return total, distance


class Trainer:
    """Trains :class:`LandmarkNet`; a checkpoint holds everything, also the recipe.

    Parameters
    ----------
    out
        Folder of ``checkpoint.pt`` and ``log.jsonl``.
    """

    def __init__(self, recipe: Recipe, out: Path, jitter: Jitter | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.jitter = recipe, out, jitter or Jitter()
        self.net = LandmarkNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = LandmarkNet().requires_grad_(False)
        self.averaged.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.rate, recipe.steps, pct_start=recipe.warm_up
        )
        self.step = 0
        self.earlier: list[dict[str, Any]] = []
        out.mkdir(parents=True, exist_ok=True)
        if self._file.is_file():
            self._resume()

    @property
    def _file(self) -> Path:
        return self.out / "checkpoint.pt"

    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net, "averaged": self.averaged}

    def _resume(self) -> None:
        saved = torch.load(self._file, weights_only=True)
        if saved["recipe"] != asdict(self.recipe):
            raise InvalidInput(
                f"expected a checkpoint of {asdict(self.recipe)}, {self._file} has {saved['recipe']}",
                "name another folder with --out or the same recipe",
            )
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.step, self.earlier = saved["step"], saved["earlier"]

    def start_from(self, path: Path, renders: Renders) -> None:
        """Take the averaged weights of an earlier stage's checkpoint, or those of an exported file."""
        if path.suffix == ".onnx":
            state = net_of(path, make_batch(renders, self.recipe, -1 % 2**32, self.jitter)[0]).state_dict()
            saved: dict[str, Any] = {"averaged": state, "earlier": [], "recipe": {"file": path.name}}
        else:
            saved = torch.load(path, weights_only=True)
        for part in self._parts().values():
            part.load_state_dict(saved["averaged"])
        self.earlier = [*saved["earlier"], saved["recipe"]]

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole.

        Raises
        ------
        DferError
            If it cannot be written.
        """
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}
        state |= {"step": self.step, "recipe": asdict(self.recipe), "earlier": self.earlier}
        publish(self._file, lambda path: torch.save(state, path))

    def run(self, renders: Renders, every: int = 100) -> LandmarkNet:
        """Train to the end of the recipe; save and log every so many steps. Returns the averaged network."""
        self.net.train()
        distances = []
        for batch in _batches(renders, self.recipe, self.step, self.jitter):
            total, distance = total_loss(self.net, batch, self.recipe.dense)
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimiser.step()
            self.schedule.step()
            average(self.averaged, self.net, self.recipe.average, self.step)
            distances.append(float(distance))
            self.step += 1
            if self.step % every == 0 or self.step == (self.recipe.stop or self.recipe.steps):
                self.save()
                row = {"step": self.step, "distance": float(np.mean(distances)), "loss": float(total.detach())}
                log.info("%s", row)
                with (self.out / "log.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
                distances = []
        return self.averaged.eval()
