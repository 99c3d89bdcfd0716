"""Folds of the data of a reproduction, and the part of the training set that chooses epochs honestly."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.training.data import LAYOUTS, ClipDataset, open_named
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.layouts import ARCHIVES
from dfer_edge.training.data.samples import Subset, require_all_classes, split_groups

# Folds by person of data sets that have none of their own, rendered ones among them.
OWN_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Fold:
    """Clips of one run.

    Attributes
    ----------
    train, inner, test
        What is trained on; a tenth of its people (of its clips, where people are unknown), held out of it to choose
        an epoch; and the paper's test part, on which the papers choose theirs.
    """

    train: ClipDataset
    inner: ClipDataset
    test: ClipDataset


def fold_count(data: str) -> int:
    """Folds of ``NAME:PATH``; one for an official split.

    Raises
    ------
    InvalidInput, SourceNotFound
        For a name that nobody knows, or an archive that is still packed.
    """
    name, _, path = data.partition(":")
    if Path(path).suffix.lower() in ARCHIVES and Path(path).is_file():
        raise SourceNotFound(f"expected a folder with {name}, got the archive {path}", "unpack it first")
    if name not in LAYOUTS or not path:
        raise InvalidInput(f"expected NAME:PATH with a name out of {', '.join(LAYOUTS)}; got {data!r}")
    return LAYOUTS[name].folds or OWN_FOLDS


def open_fold(
    data: str, fold: int, seed: int, cropper: FaceCropper | None, most: tuple[int, int] | None = None
) -> Fold:
    """Fold ``fold``, from 1, of ``NAME:PATH``; ``most`` clips a class to train on and to test, if given.

    Raises
    ------
    InvalidInput, SourceNotFound
        As :func:`dfer_edge.training.data.open_named`; for a class without a clip to train on, or a clip in both parts.
    """
    has_folds = LAYOUTS[data.partition(":")[0]].folds
    train, test = open_named(data, fold if has_folds else 1, cropper)
    if not has_folds:
        people = np.random.default_rng(0).permutation(np.unique(train.groups))
        held = np.isin(train.groups, people[fold - 1 :: OWN_FOLDS])
        train, test = Subset(train, np.flatnonzero(~held)), Subset(train, np.flatnonzero(held))
    _require_apart(train, test)
    if most:
        train, test = (Subset(part, _few(part, count)) for part, count in zip((train, test), most, strict=True))
    outside, inside = split_groups(train.groups, 0.1, seed)
    found = Fold(Subset(train, outside), Subset(train, inside), test)
    require_all_classes(found.train, "the training set of")
    return found


def _require_apart(train: ClipDataset, test: ClipDataset) -> None:
    """InvalidInput if a clip is in both parts, or twice in one: the list of somebody who made the folds anew."""
    listed = [[part.describe(index) for index in range(len(part.targets))] for part in (train, test)]
    for part, names in zip((train, test), listed, strict=True):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise InvalidInput(f"expected every clip of {part.name} once, {len(twice)} are listed twice: {twice[0]}")
    trained = set(listed[0])
    if shared := [name for name in listed[1] if name in trained]:
        raise InvalidInput(
            f"expected clips of one part alone, {len(shared)} of {train.name} are in training and test, "
            f"e.g. {shared[0]}"
        )


def _few(data: ClipDataset, most: int) -> list[int]:
    return sorted(int(i) for label in np.unique(data.targets) for i in np.flatnonzero(data.targets == label)[:most])
