"""The runs behind the tables: every row, every fold; what is done stays done, what was killed goes on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.reproduce import data as folds
from dfer_edge.reproduce import spread
from dfer_edge.reproduce.papers import Paper, Row, chosen_rows
from dfer_edge.spec import ModelSpec
from dfer_edge.training.recipes import Recipe
from dfer_edge.training.table import find_recipe

# What is being done, runs done, runs in all.
Report = Callable[[str, int, int], None]

# Inputs so small that any machine carries the whole table; the networks keep their widths but for depths.
_SMALL: dict[str, dict[str, Any]] = {
    "slowr50": {"size": 64, "frames": 4},
    "smate": {"size": 64, "frames": 7, "options": {"spatial_depth": 2, "temporal_depth": 2}},
    "vgg": {"size": 48, "frames": 2},
    "keypoint": {"size": 64, "frames": 6},
    "r2plus1d": {"size": 48, "frames": 6},
}
# The smallest that every layer still has something to read from, for a run that only shows that everything is there.
_QUICK: dict[str, dict[str, Any]] = {
    "slowr50": {"size": 32, "frames": 2},
    "smate": {"size": 32, "frames": 5, "options": {"spatial_depth": 1, "temporal_depth": 1}},
    "vgg": {"size": 32, "frames": 1},
    "keypoint": {"size": 32, "frames": 2},
    "r2plus1d": {"size": 32, "frames": 2},
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What to reproduce, and with what.

    Attributes
    ----------
    paper
        See there.
    data
        Layout -> ``NAME:PATH``. Under ``"*"`` what stands in for every layout: renders.
    out
        Folder of runs and tables.
    variants
        Names of rows; all if empty.
    small
        Small inputs instead of the paper's, said in every table.
    size, frames
        Side in pixels and number of frames of small inputs, if above 0; said in the tables.
    quick
        One epoch on a few clips of at most two folds: to see that everything is there.
    epochs, batch
        In place of the recipe's, if above 0; said in the tables too.
    changes
        Further fields of every row's recipe -> JSON, as ``dfer-edge train --set`` takes them; said in the tables too.
    most_folds
        At most this many folds, if above 0.
    init
        Public backbone or weights to start from; empty for noise, which the tables say.
    seed, device, precision, workers
        As in :class:`dfer_edge.training.settings.Settings`.
    detector, landmarks
        As ``detector`` and ``landmark_detector`` of :class:`dfer_edge.Recognizer`.
    ray
        Address of a Ray cluster that does the runs, ``local`` for one of this machine's; empty does them here, or in
        the processes that torchrun started.
    """

    paper: Paper
    data: dict[str, str]
    out: Path
    variants: Sequence[str] = ()
    small: bool = False
    size: int = 0
    frames: int = 0
    quick: bool = False
    epochs: int = 0
    batch: int = 0
    changes: tuple[tuple[str, str], ...] = ()
    most_folds: int = 0
    init: str = ""
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    workers: int = 0
    detector: str = "auto"
    landmarks: str = "auto"
    ray: str = ""

    def folder(self, row: Row, fold: int) -> Path:
        """Where a run lies."""
        return self.out / "runs" / row.name / row.data / f"fold-{fold}"

    def spec(self, row: Row) -> ModelSpec:
        """The network's spec before the recipe's crop: the paper's input, or a small one; see ``init``."""
        entry = registry.find(row.model)
        spec = _as_known(entry.spec, self.init) if self.init else entry.spec
        if not self.is_small:
            return spec
        small = dict((_QUICK if self.quick else _SMALL)[entry.family])
        options = {**spec.options, **small.pop("options", {})}
        small |= {name: count for name, count in (("size", self.size), ("frames", self.frames)) if count}
        return dataclasses.replace(spec, options=options, **small)

    @property
    def is_small(self) -> bool:
        return bool(self.small or self.quick or self.size or self.frames)

    def source(self, row: Row) -> str | None:
        """``NAME:PATH`` of the row's clips; None if nobody gave them."""
        return self.data.get(row.data) or self.data.get("*")

    def folds(self, row: Row) -> int:
        """How many folds of the row are run."""
        source = self.source(row)
        most = 2 if self.quick and not self.most_folds else self.most_folds
        count = folds.fold_count(source) if source else 0
        return min(count, most) if most else count


def _as_known(spec: ModelSpec, init: str) -> ModelSpec:
    """``spec`` with the crop, scale of pixels and options of the weights of ours that ``init`` names, if it does.

    A network that is given pixels in another scale than it learnt says the same of all of them. Options that the
    printed network does not have, e.g. another pooling, stay out.
    """
    if (known := _known(spec.name, init)) is None:
        return spec
    options = {name: known.options.get(name, value) for name, value in spec.options.items()}
    kept = {name: getattr(known, name) for name in ("mean", "std", "pixels", "face_box", "face_margin", "level")}
    return dataclasses.replace(spec, options=options, **kept)


@functools.cache
def _known(model: str, init: str) -> ModelSpec | None:
    from dfer_edge.training.network import trained_spec

    return trained_spec(model, init)


def run(job: Job, report: Report | None = None) -> list[dict[str, Any]]:
    """All runs that are not done yet; the results of all rows, in order.

    Every run has a folder; a finished one holds ``result.json`` and is not run again. A run that was killed goes on
    from its checkpoint to the same numbers. A ``result.json`` that does not read, or is
    of other settings, is made anew.

    Returns
    -------
    For each row ``row``, ``runs`` (one a fold), and ``missing``, why there are none or fewer.

    Raises
    ------
    DferError
        As training does; for variants that do not exist.
    """
    rows = chosen_rows(job.paper, job.variants)
    _require_data(job, rows)
    if "*" in job.data:
        # One set stands in for all: a variant on two data sets would be the same run twice.
        rows = tuple({row.name: row for row in reversed(rows)}.values())[::-1]
    tasks = [(row, fold) for row in rows for fold in range(1, job.folds(row) + 1)]
    made: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (row, _), result in zip(tasks, _performed(job, tasks, report), strict=True):
        if result is not None:
            made.setdefault((row.name, row.data), []).append(result)
    return [_row(job, row, made.get((row.name, row.data), [])) for row in rows]


def _row(job: Job, row: Row, made: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of a row that came to an end, and why others did not."""
    missing = "" if job.source(row) else f"no data: --data {row.data}:FOLDER"
    if lost := [str(run["fold"]) for run in made if "diverged" in run]:
        missing = f"diverged in fold {', '.join(lost)}: lower --set stages.optimiser.lr"
    runs = [run for run in made if "diverged" not in run]
    return {"row": dataclasses.asdict(row), "runs": runs, "missing": missing}


def _performed(job: Job, tasks: Sequence[tuple[Row, int]], report: Report | None) -> Iterator[dict[str, Any] | None]:
    """Results of the tasks in order, made here or where the job says; None for those of another process."""

    def perform(row: Row, fold: int) -> dict[str, Any]:
        if report:
            report(f"{row.name} on {row.data}, fold {fold}", tasks.index((row, fold)), len(tasks))
        return fold_result(job, row, fold)

    def finished(row: Row, fold: int) -> dict[str, Any] | None:
        return _kept(job.folder(row, fold) / "result.json", _identity(job, row))

    return spread.on_ray(reproduce_fold, job, tasks) if job.ray else spread.shared_out(tasks, perform, finished)


def _require_data(job: Job, rows: Sequence[Row]) -> None:
    """Before hours of work: the data sets that are given are the paper's, at least one is, and all their folds open."""
    wanted = {row.data for row in rows}
    if odd := sorted(set(job.data) - wanted - {"*"}):
        raise InvalidInput(
            f"expected data of paper {job.paper.number} out of {', '.join(sorted(wanted))}; got {odd[0]}"
        )
    for row in rows:
        job.spec(row)  # weights that are not the row's network's
    for source, count in {job.source(row): job.folds(row) for row in rows if job.source(row)}.items():
        for fold in range(1, count + 1):
            folds.open_fold(str(source), fold, job.seed, None)
    if not job.data:
        raise InvalidInput(
            f"expected data of paper {job.paper.number}, got none", f"--data {min(wanted)}:FOLDER, or --rendered"
        )


def missing_starts(job: Job) -> dict[str, str]:
    """What the rows' networks start from in the paper and was not given -> where it is published; empty with it."""
    from dfer_edge.models.backbone import PUBLIC

    found = {}
    for row in chosen_rows(job.paper, job.variants) if not job.init else ():
        if wanted := find_recipe("paper", row.model).pretrained:
            found[wanted] = PUBLIC[registry.find(row.model).family].address
    return found


def recipe_of(job: Job, row: Row) -> Recipe:
    """The paper's recipe with the row's changes, and what a small or quick run changes for all rows alike."""
    recipe = find_recipe("paper", row.model)
    for field, value in row.changes:
        recipe = recipe.override(field, value)
    if job.is_small:
        size = job.spec(row).size
        # The same share of the face crop as at the paper's size.
        shares = [stage.crop.share(registry.find(row.model).spec.size) for stage in recipe.stages]
        stages = tuple(
            dataclasses.replace(
                stage,
                crop=dataclasses.replace(stage.crop, resize=round(size / share) if stage.crop.resize else 0),
                sampling=dataclasses.replace(stage.sampling, min_frames=1),
                batch=8,
            )
            for stage, share in zip(recipe.stages, shares, strict=True)
        )
        recipe = dataclasses.replace(recipe, stages=stages)
    if job.quick:
        recipe = recipe.override("stages.epochs", "1").override("stages.batch", "4")
    for field, count in (("epochs", job.epochs), ("batch", job.batch)):
        recipe = recipe.override(f"stages.{field}", str(count)) if count else recipe
    for field, value in job.changes:
        recipe = recipe.override(field, value)
    return recipe


def _identity(job: Job, row: Row) -> str:
    made_of = (recipe_of(job, row).to_json(), job.spec(row).to_json(), job.source(row))
    settings = "|".join(map(str, (*made_of, job.seed, job.init, job.quick, job.detector)))
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def fold_result(job: Job, row: Row, fold: int) -> dict[str, Any]:
    """The result of one run, from its folder if it is there."""
    recipe, identity, folder = recipe_of(job, row), _identity(job, row), job.folder(row, fold)
    if (kept := _kept(folder / "result.json", identity)) is not None:
        return kept
    if _begun_otherwise(folder, identity):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identity").write_text(identity)
    from dfer_edge.reproduce.fold import train_fold
    from dfer_edge.training.checkpoint import publish

    result = {"identity": identity, "fold": fold, **train_fold(job, row, fold, recipe, folder)}
    publish(folder / "result.json", lambda scratch: scratch.write_text(json.dumps(result, indent=1)))
    # Tens of runs: what only a run that goes on needs would fill the disk. Quick runs' weights are noise.
    for name in ("checkpoint", "last", *(["best"] if job.quick else [])):
        (folder / f"{name}.safetensors").unlink(missing_ok=True)
    return result


def reproduce_fold(job: Job, row: Row, fold: int) -> dict[str, Any]:
    """One run in a process of a cluster."""
    import torch

    torch.set_num_threads(1)
    return fold_result(job, row, fold)


def _kept(path: Path, identity: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("identity") == identity else None


def _begun_otherwise(folder: Path, identity: str) -> bool:
    path = folder / "identity"
    return folder.is_dir() and (not path.is_file() or path.read_text() != identity)
