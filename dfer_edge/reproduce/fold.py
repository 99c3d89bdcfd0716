"""One run: train on a fold, and read both choices of the epoch off its history."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfer_edge.errors import InvalidInput
from dfer_edge.faces import for_network
from dfer_edge.faces.landmarks import CHOICES
from dfer_edge.faces.prepared import FaceStore
from dfer_edge.models import require_torch
from dfer_edge.reproduce import data as folds
from dfer_edge.reproduce.papers import Row
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.samples import without_lost
from dfer_edge.training.recipes import Recipe

if TYPE_CHECKING:
    from dfer_edge.reproduce.runs import Job

# Of each epoch, for the figures.
_CURVES = ("stage", "epoch", "loss", "train_war", "val_war", "val_uar", "inner_war")
# Clips of a class in a quick run, to train on and to test.
_QUICK_CLIPS = (3, 1)


def train_fold(job: Job, row: Row, fold: int, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The numbers of one fold, JSON-safe: ``on_test`` and ``on_inner``, the two choices of the epoch.

    Of a run that diverges ``diverged``, what was not finite, and no numbers: hours of other runs do not end with it.
    """
    require_torch("reproducing a paper")
    from dfer_edge.training.network import build_network, start_from
    from dfer_edge.training.trainer import Diverged, Settings, Trainer, seed_everything

    source = job.source(row)
    assert source is not None  # noqa: S101 - checked by the caller
    spec = recipe.crops(job.spec(row))
    detector, landmarks = for_network(spec, job.detector, job.landmarks, threads=1)
    if spec.landmarks and landmarks is None:
        raise InvalidInput(f"expected a landmark detector for {spec.name}, got none", CHOICES)
    # Faces are found once for all rows, folds and epochs.
    cropper = FaceCropper(spec, detector, landmarks, FaceStore(job.out / "faces", detector))
    clips = folds.open_fold(source, fold, job.seed, cropper, _QUICK_CLIPS if job.quick else None)
    if recipe.drop_lost:
        clips = dataclasses.replace(clips, train=without_lost(clips.train))
    # The same start for all rows of a network: they are paired.
    seed_everything((job.seed, fold))
    network = build_network(row.model, recipe, clips.train.labels, default=job.spec(row))
    start = start_from(network, job.init) if job.init else "noise"
    settings = Settings(
        out=folder,
        seed=job.seed,
        device=job.device,
        precision=job.precision,
        workers=job.workers,
        data_name=source,
        resumes=not job.quick,
    )
    trainer = Trainer(network, clips.train, clips.test, recipe, settings, inner_set=clips.inner)
    try:
        trainer.run()
    except Diverged as error:
        return {"diverged": error.message, "start": start}
    history = [{key: row.get(key) for key in _CURVES} for row in trainer.progress.history]
    counts = {name: len(part.targets) for name, part in (("train", clips.train), ("test", clips.test))}
    return {
        **choices(trainer.progress.history, recipe.select),
        "labels": list(clips.train.labels),
        "clips": counts,
        "start": start,
        "history": history,
    }


def choices(history: Sequence[Mapping[str, Any]], select: str) -> dict[str, Any]:
    """Test numbers at the epoch that is best on the test set, as the papers choose, and on the inner set."""
    sign = -1.0 if select == "log_loss" else 1.0

    def best(part: str) -> dict[str, Any]:
        row = max(history, key=lambda row: sign * float(row[f"{part}_{select}"]))
        kept = ("stage", "epoch", "val_war", "val_uar", "val_confusion", "train_war")
        return {name.removeprefix("val_"): row.get(name) for name in kept}

    return {"on_test": best("val"), "on_inner": best("inner")}
