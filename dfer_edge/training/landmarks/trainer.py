"""The training of the landmark network: a stage of crops of renders from shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.training.landmarks.convention import annotated
from dfer_edge.training.landmarks.crops import Jitter, training_crop
from dfer_edge.training.landmarks.network import DENSE, POINTS, LandmarkNet, dense_loss, loss
from dfer_edge.training.landmarks.render import detectors_box, read_shards
from dfer_edge.training.landmarks.start import net_of
from dfer_edge.training.stage import Stage


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


class Trainer(Stage[Recipe, LandmarkNet]):
    """Trains :class:`LandmarkNet`; see :class:`~dfer_edge.training.stage.Stage`."""

    def __init__(self, recipe: Recipe, out: Path, jitter: Jitter | None = None) -> None:
        super().__init__(LandmarkNet, recipe, out)
        self.jitter = jitter or Jitter()

    def start_from_file(self, path: Path, renders: Renders) -> None:
        """Take the averaged weights of an earlier stage's checkpoint, or those of an exported file."""
        if path.suffix == ".onnx":
            example = make_batch(renders, self.recipe, -1 % 2**32, self.jitter)[0]
            self.start_from(net_of(path, example).state_dict(), [{"file": path.name}])
        else:
            self.start_from_checkpoint(path)

    def train(self, renders: Renders, every: int = 100) -> LandmarkNet:
        """Train to the end of the recipe; save and log every so many steps. Returns the averaged network."""
        recipe = self.recipe
        return self.run(lambda step: make_batch(renders, recipe, step, self.jitter), self._loss, every, recipe.stop)

    def _loss(self, net: LandmarkNet, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        total, distance = total_loss(net, batch, self.recipe.dense)
        return total, {"distance": float(distance), "loss": float(total.detach())}
