"""Validation in training: logits of a whole set, and the numbers that choose a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.metrics import measure
from dfer_edge.training.objective import Objective

Array = npt.NDArray[np.float64]


def scores(probabilities: Array, labels: npt.NDArray[np.int64]) -> dict[str, float | None]:
    """UAR, WAR, log loss and the recall of each class by :func:`dfer_edge.metrics.measure`, as one row.

    A class without a clip does not count towards UAR; its recall is None.
    """
    found = measure(labels, probabilities)
    recalls = {f"recall_{k}": value for k, value in enumerate(found.recall)}
    return {"uar": found.uar, "war": found.war, "log_loss": found.log_loss} | recalls


@torch.no_grad()
def evaluate(
    objective: Objective,
    batches: Iterable[tuple[dict[str, torch.Tensor], list[tuple[str, str]]]],
    place: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    autocast: Callable[[], contextlib.AbstractContextManager[Any]],
) -> tuple[Array, npt.NDArray[np.int64], list[tuple[str, str]]]:
    """Probabilities [N, K], labels [N] and skipped clips, in evaluation mode.

    Raises
    ------
    InvalidInput
        If no clip reads.
    """
    objective.eval()
    probabilities, labels, skipped = [], [], []
    for batch, missing in batches:
        skipped += missing
        if not batch:
            continue
        with autocast():
            logits = objective.logits(place(batch))
        probabilities.append(logits.double().softmax(1).cpu().numpy())
        labels.append(batch["label"].numpy())
    if not labels:
        first = f", e.g. {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise InvalidInput(f"expected clips to validate on, none of {len(skipped)} reads{first}")
    return np.concatenate(probabilities), np.concatenate(labels), skipped
