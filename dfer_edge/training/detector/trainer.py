"""The training of the detector: a stage of scenes made on the fly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dfer_edge.training.detector.loss import Faces, loss
from dfer_edge.training.detector.network import DetectorNet
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.scenes import MOST, compose
from dfer_edge.training.detector.sprites import Sprites
from dfer_edge.training.stage import Stage


@dataclass(frozen=True)
class Recipe:
    """Everything that, with heads and pictures, decides the weights.

    Attributes
    ----------
    steps, batch, size
        Each step takes a batch of images of so many pixels a side.
    rate, warm_up, weight_decay
        AdamW's highest rate, the share of steps until it is reached, and its decay.
    average
        Weight of the past in the running mean of the weights.
    """

    steps: int = 4_000
    batch: int = 16
    size: int = 256
    rate: float = 3e-3
    weight_decay: float = 0.01
    warm_up: float = 0.08
    average: float = 0.998
    seed: int = 0


Batch = tuple[torch.Tensor, Faces]


def make_batch(sprites: Sprites, pictures: Pictures, recipe: Recipe, step: int) -> Batch:
    """The batch of a step: a function of seed and step alone, so that resuming repeats nothing and skips nothing."""
    images = np.zeros((recipe.batch, 1, recipe.size, recipe.size), np.float32)
    boxes, points = np.zeros((recipe.batch, MOST, 4), np.float32), np.zeros((recipe.batch, MOST, 5, 2), np.float32)
    kinds = np.zeros((recipe.batch, MOST), np.int64)
    for row in range(recipe.batch):
        rng = np.random.default_rng([recipe.seed, step, row])
        image, *faces = compose(rng, sprites, pictures, recipe.size)
        images[row, 0] = image
        for array, value in zip(_arrays(boxes, points, kinds), faces, strict=True):
            array[row, : len(value)] = value
    return torch.from_numpy(images), Faces(*(torch.from_numpy(array) for array in (boxes, points, kinds)))


def _arrays(*arrays: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return list(arrays)


class Trainer(Stage[Recipe, DetectorNet]):
    """Trains :class:`DetectorNet`; see :class:`~dfer_edge.training.stage.Stage`."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        super().__init__(DetectorNet, recipe, out)

    def train(self, sprites: Sprites, pictures: Pictures, every: int = 50) -> DetectorNet:
        """Train to the end of the recipe; save and log every so many steps. Returns the averaged network."""
        return self.run(lambda step: make_batch(sprites, pictures, self.recipe, step), self._loss, every)

    def _loss(self, net: DetectorNet, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        # In fp32: depthwise convolutions are slower in bf16 here (0.27 against 0.19 s a step).
        images, faces = batch
        outputs = net(images.to(memory_format=torch.channels_last))
        return loss(outputs, faces, (self.recipe.size, self.recipe.size))
