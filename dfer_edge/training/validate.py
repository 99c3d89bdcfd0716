"""Validation in training: logits of a whole set, and the numbers that choose a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.metrics import confusion, measure
from dfer_edge.training.objective import Objective

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Validated:
    """What a network says of a set.

    Attributes
    ----------
    probabilities
        float64 [N, K].
    labels
        int64 [N].
    lost
        Classes of the clips in which no face was found.
    skipped
        (clip, reason) of all that did not read.
    """

    probabilities: Array
    labels: npt.NDArray[np.int64]
    lost: list[int]
    skipped: list[tuple[str, str]]

    def confusion(self) -> list[list[int]]:
        """Counts [K][K]: rows are true classes, columns predicted ones."""
        counts: list[list[int]] = confusion(
            self.labels, self.probabilities.argmax(1), self.probabilities.shape[1]
        ).tolist()
        return counts

    def scores(self) -> dict[str, float | None]:
        """See :func:`scores`."""
        return scores(self.probabilities, self.labels, self.lost)


def scores(probabilities: Array, labels: npt.NDArray[np.int64], lost: Sequence[int] = ()) -> dict[str, float | None]:
    """UAR, WAR, log loss and the recall of each class by :func:`dfer_edge.metrics.measure`, as one row.

    A class without a clip does not count towards UAR; its recall is None. ``lost`` are the classes of clips in which no
    face was found: wrong ones.
    """
    found = measure(labels, probabilities, lost)
    recalls = {f"recall_{k}": value for k, value in enumerate(found.recall)}
    return {"uar": found.uar, "war": found.war, "log_loss": found.log_loss} | recalls


@torch.no_grad()
def evaluate(
    objective: Objective,
    batches: Iterable[tuple[dict[str, torch.Tensor], list[tuple[str, str]]]],
    place: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
) -> Validated:
    """A whole set in evaluation mode and in fp32, so that the weights file gives the same numbers elsewhere.

    Raises
    ------
    InvalidInput
        If no clip reads.
    """
    objective.eval()
    probabilities, labels = [], []
    skipped: list[tuple[str, str]] = []
    lost: list[int] = []
    for batch, missing in batches:
        skipped += missing
        if "lost" in batch:
            lost += batch.pop("lost").tolist()
        if not batch:
            continue
        probabilities.append(objective.probabilities(place(batch)).cpu().numpy())
        labels.append(batch["label"].numpy())
    if not labels:
        first = f", e.g. {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise InvalidInput(f"expected clips to validate on, none of {len(skipped)} reads{first}")
    return Validated(np.concatenate(probabilities), np.concatenate(labels), lost, skipped)
