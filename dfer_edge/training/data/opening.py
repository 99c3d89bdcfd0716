"""From ``NAME:PATH`` to a training and a validation set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.labels import position
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.registry import LAYOUTS
from dfer_edge.training.data.samples import (
    TARGETS,
    Choose,
    ClipDataset,
    ClipSource,
    Sample,
    Subset,
    require_all_classes,
    split_groups,
    target_shapes,
)

# Share of the identities held out where a data set has no split of its own.
HELD_OUT = 0.1


@dataclasses.dataclass(frozen=True)
class Split:
    """Training and validation clips with the same labels.

    Attributes
    ----------
    name
        Of the data, for logs and notes.
    """

    name: str
    train: ClipDataset
    val: ClipDataset

    @property
    def labels(self) -> tuple[str, ...]:
        return self.train.labels


def open_split(
    data: Sequence[str],
    val: Sequence[str] = (),
    fold: int = 1,
    class_names: tuple[str, ...] | None = None,
    seed: int = 0,
    cropper: FaceCropper | None = None,
    known: tuple[str, ...] = (),
) -> Split:
    """The split to train on.

    Parameters
    ----------
    data
        ``NAME:PATH`` of one of :data:`LAYOUTS`; several are joined.
    val
        The same for validation; empty takes the data's own split, or holds out a tenth of the identities.
    fold
        Which fold, from 1.
    class_names
        Classes to train on, in order; clips of others are left out. None takes the first data set's.
    seed
        Of a split by identity.
    cropper
        Finds faces in data sets that hold whole frames, and landmarks.
    known
        Classes of the weights to start from: taken, in their order, where ``class_names`` is None and the first data
        set has no others. Those without a sample stay.

    Raises
    ------
    InvalidInput
        For an unknown name or layout (the message says what was looked for), a fold that does not exist, or a class
        without a sample in the training set.
    """
    opened = [open_named(spec, fold, cropper) for spec in data]
    own = opened[0][0].labels
    kept = class_names is None and bool(known) and all(position(name, known) is not None for name in own)
    names = known if kept else class_names or own
    if val:
        validation: ClipDataset = joined([open_named(spec, fold, cropper)[1] for spec in val], names)
        train: ClipDataset = joined([pair[0] for pair in opened], names)
    elif all(pair[0] is not pair[1] for pair in opened):
        train, validation = joined([pair[0] for pair in opened], names), joined([pair[1] for pair in opened], names)
    else:
        whole = joined([pair[0] for pair in opened], names)
        inside, outside = split_groups(whole.groups, HELD_OUT, seed)
        train, validation = Subset(whole, inside), Subset(whole, outside)
    if not kept:
        require_all_classes(train, "the training set of")
    if not len(validation.targets):
        raise InvalidInput(f"expected clips to validate on, got none in {validation.name}")
    return Split(train.name, train, validation)


def open_named(spec: str, fold: int, cropper: FaceCropper | None = None) -> tuple[ClipDataset, ClipDataset]:
    """Training and validation set of ``NAME:PATH``; without a split both are the same set.

    Raises
    ------
    SourceNotFound
        If there is no such folder.
    InvalidInput
        For an unknown name, a fold that does not exist, or a folder of another layout.
    """
    name, _, path = spec.partition(":")
    if name not in LAYOUTS or not path:
        raise InvalidInput(f"expected NAME:PATH with a name out of {', '.join(LAYOUTS)}; got {spec!r}")
    layout, folder = LAYOUTS[name], Path(path).expanduser()
    if not folder.is_dir():
        raise SourceNotFound(f"expected a folder that holds the data set {name!r}, found none at {folder}")
    if not 1 <= fold <= max(layout.folds, 1):
        raise InvalidInput(f"expected a fold of {name} from 1 to {max(layout.folds, 1)}, got {fold}")
    return layout.open(folder, fold, cropper)


def joined(parts: Sequence[ClipDataset], names: tuple[str, ...]) -> ClipDataset:
    """One data set out of several, on the classes ``names``."""
    mapped = [Subset(part, np.arange(len(part.targets)), names) for part in parts]
    return mapped[0] if len(mapped) == 1 else _Joined(mapped)


class _Joined:
    """Several sets as one. An auxiliary target that not all of them have, in one shape, is left out of all."""

    def __init__(self, parts: Sequence[Subset]) -> None:
        self.parts, self.labels = parts, parts[0].labels
        self.name = "+".join(part.name for part in parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.targets = np.concatenate([part.targets for part in parts])
        self.missing: Mapping[str, str] = {clip: reason for part in parts for clip, reason in part.missing.items()}
        # Persons of one set are not those of another.
        groups, taken = [], 0
        for part in parts:
            groups.append(np.where(part.groups < 0, -1, part.groups + taken))
            taken += int(part.groups.max(initial=-1)) + 1
        self.groups = np.concatenate(groups)
        self.part_names = [name for part in parts for name in part.part_names]
        shapes = [target_shapes(part) for part in parts if len(part)]
        shared = [name for name in TARGETS if shapes and len({found.get(name) for found in shapes}) == 1]
        self._dropped: dict[str, Any] = dict.fromkeys(name for name in TARGETS if name not in shared)

    def _locate(self, index: int) -> tuple[Subset, int]:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[part], index - int(self._starts[part])

    def describe(self, index: int) -> str:
        part, row = self._locate(index)
        return part.describe(row)

    def source(self, index: int) -> ClipSource:
        part, row = self._locate(index)
        return part.source(row)

    def read(self, index: int, choose: Choose) -> Sample:
        part, row = self._locate(index)
        return dataclasses.replace(part.read(row, choose), **self._dropped)
