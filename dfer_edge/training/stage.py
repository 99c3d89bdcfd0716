"""One stage of training a small network of a dfer_edge asset (detector, landmarks): one-cycle AdamW, averaged weights,
exact resume. A batch is a function of the recipe and the step alone, so resuming repeats nothing and skips nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch

from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.training.checkpoint import publish
from dfer_edge.training.optimise import average

log = logging.getLogger(__name__)

_CLIP, _AHEAD = 5.0, 3


class StageRecipe(Protocol):
    """What the recipe of a stage, a frozen dataclass, says at least.

    Attributes
    ----------
    steps
        Of the schedule.
    rate, warm_up, weight_decay
        AdamW's highest rate, the share of steps until it is reached, and its decay.
    average
        Weight of the past in the running mean of the weights.
    seed
        Of the first weights and of all batches.
    """

    @property
    def steps(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warm_up(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def seed(self) -> int: ...


R = TypeVar("R", bound=StageRecipe)
N = TypeVar("N", bound=torch.nn.Module)
A = TypeVar("A")
B = TypeVar("B")


class Stage(Generic[R, N]):
    """Networks, optimiser and place in the schedule; a checkpoint holds all of them, and the recipe.

    Parameters
    ----------
    make
        Makes the network.
    recipe
        Frozen dataclass; a checkpoint of another one is refused.
    out
        Folder of ``checkpoint.pt`` and ``log.jsonl``; a checkpoint there is resumed.

    Attributes
    ----------
    net, averaged, step
        The network, the running mean of its weights, and the steps done.
    earlier
        Recipes of the stages before.
    """

    def __init__(self, make: Callable[[], N], recipe: R, out: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out = recipe, out
        self.net: N = make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged: N = make().requires_grad_(False)
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

    @property
    def _recipe(self) -> dict[str, Any]:
        return dataclasses.asdict(self.recipe)  # type: ignore[call-overload,no-any-return]

    def _parts(self) -> dict[str, Any]:
        return {"net": self.net, "averaged": self.averaged, "optimiser": self.optimiser, "schedule": self.schedule}

    def _resume(self) -> None:
        saved = torch.load(self._file, weights_only=True)
        if saved["recipe"] != self._recipe:
            raise InvalidInput(
                f"expected a checkpoint of {self._recipe}, {self._file} has {saved['recipe']}",
                "name another folder with --out or the same recipe",
            )
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.step, self.earlier = saved["step"], saved["earlier"]

    def start_from(self, weights: Mapping[str, Any], earlier: Sequence[dict[str, Any]]) -> None:
        """Take the weights of an earlier stage; ``earlier`` are the recipes that made them."""
        for net in (self.net, self.averaged):
            net.load_state_dict(weights)
        self.earlier = list(earlier)

    def start_from_checkpoint(self, path: Path) -> None:
        """:meth:`start_from` with the averaged weights of a checkpoint."""
        saved = torch.load(path, weights_only=True)
        self.start_from(saved["averaged"], [*saved["earlier"], saved["recipe"] | {"stopped_at": saved["step"]}])

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole.

        Raises
        ------
        DferError
            If it cannot be written.
        """
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "recipe": self._recipe, "earlier": self.earlier}
        publish(self._file, lambda path: torch.save(state, path))

    def run(
        self,
        batch: Callable[[int], B],
        loss: Callable[[N, B], tuple[torch.Tensor, Mapping[str, float]]],
        every: int,
        stop: int = 0,
    ) -> N:
        """Train to the end of the schedule; save and log every so many steps.

        Parameters
        ----------
        batch
            The batch of a step; called ahead, in a thread.
        loss
            What is made small, and what is logged (its mean since the last time).
        stop
            Leave the schedule after so many steps; 0 for its end.

        Returns
        -------
        The averaged network, in evaluation mode.
        """
        self.net.train()
        rows: list[Mapping[str, float]] = []
        last = stop or self.recipe.steps
        for values in _ahead(batch, self.step, last):
            total, row = loss(self.net, values)
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), _CLIP)
            self.optimiser.step()
            self.schedule.step()
            average(self.averaged, self.net, self.recipe.average, self.step)
            rows.append(row)
            self.step += 1
            if self.step % every == 0 or self.step == last:
                self.save()
                self._log(rows)
                rows = []
        return self.averaged.eval()

    def _log(self, rows: Sequence[Mapping[str, float]]) -> None:
        mean = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]}
        log.info("%s", {"step": self.step, **mean})
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, **mean}) + "\n")


def _ahead(batch: Callable[[int], B], start: int, end: int) -> Iterator[B]:
    """Batches made in a thread while the network trains."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(batch, step) for step in range(start, min(end, start + _AHEAD))]
        try:
            for step in range(start, end):
                ready = waiting.pop(0).result()
                if step + _AHEAD < end:
                    waiting.append(pool.submit(batch, step + _AHEAD))
                yield ready
        finally:
            for future in waiting:
                future.cancel()


def parser(prog: str, description: str | None, recipe: type[Any], out: str) -> argparse.ArgumentParser:
    """Options that every stage has: folder, threads, and each field of the recipe but what it started from."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("--out", type=Path, required=True, help=f"folder of checkpoint, log and {out}")
    made.add_argument("--start", type=Path, help="checkpoint of an earlier stage to start from")
    recipe_options(made, recipe)
    return made


def recipe_options(parser: argparse.ArgumentParser, recipe: type[Any]) -> None:
    """Threads, and each field of a recipe but what it started from."""
    parser.add_argument("--threads", type=int, default=1)
    for field in _fields(recipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)


def recipe_of(options: argparse.Namespace, recipe: type[A], **more: Any) -> A:
    """The recipe that the options say."""
    return recipe(**{field.name: getattr(options, field.name) for field in _fields(recipe)}, **more)


def _fields(recipe: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(recipe) if field.name != "start"]


def command(train: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Train with the threads asked for; exit code 0 done, 1 failed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    try:
        train(options)
    except DferError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
