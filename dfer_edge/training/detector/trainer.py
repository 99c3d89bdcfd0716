"""The training loop of the detector: scenes made on the fly, one-cycle AdamW, averaged weights, exact resume."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.training.checkpoint import publish
from dfer_edge.training.detector.loss import Faces, loss
from dfer_edge.training.detector.network import DetectorNet
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.scenes import MOST, compose
from dfer_edge.training.detector.sprites import Sprites
from dfer_edge.training.optimise import average

log = logging.getLogger(__name__)


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


def _batches(sprites: Sprites, pictures: Pictures, recipe: Recipe, start: int) -> Iterator[Batch]:
    """Batches from ``start`` on, made ahead in a thread while the network trains."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make_batch, sprites, pictures, recipe, step) for step in range(start, start + 3)]
        for step in range(start, recipe.steps):
            ready = ahead.pop(0).result()
            ahead.append(pool.submit(make_batch, sprites, pictures, recipe, step + 3))
            yield ready
        for waiting in ahead:
            waiting.cancel()


class Trainer:
    """Trains :class:`DetectorNet`; a checkpoint holds everything, also the recipe.

    Parameters
    ----------
    out
        Folder of ``checkpoint.pt`` and ``log.jsonl``.
    """

    def __init__(self, recipe: Recipe, out: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out = recipe, out
        self.net = DetectorNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = DetectorNet().requires_grad_(False)
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

    def start_from(self, path: Path) -> None:
        """Take the averaged weights of an earlier stage."""
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

    def run(self, sprites: Sprites, pictures: Pictures, every: int = 50) -> DetectorNet:
        """Train to the end of the recipe; save and log every so many steps. Returns the averaged network."""
        self.net.train()
        rows: list[dict[str, float]] = []
        for images, faces in _batches(sprites, pictures, self.recipe, self.step):
            with torch.autocast("cpu", torch.bfloat16):
                outputs = self.net(images.to(memory_format=torch.channels_last))
            total, row = loss(outputs, faces, (self.recipe.size, self.recipe.size))
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimiser.step()
            self.schedule.step()
            average(self.averaged, self.net, self.recipe.average, self.step)
            rows.append(row)
            self.step += 1
            if self.step % every == 0 or self.step == self.recipe.steps:
                self.save()
                mean = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in row}
                log.info("%s", {"step": self.step, **mean})
                with (self.out / "log.jsonl").open("a") as file:
                    file.write(json.dumps({"step": self.step, **mean}) + "\n")
                rows = []
        return self.averaged.eval()
