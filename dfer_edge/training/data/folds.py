"""Five mutually exclusive folds of data sets whose official split is one, as paper 004 trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfer_edge import labels
from dfer_edge.training.data import layouts
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.listing import Entry, ListedClips


def afew_folds(root: Path, fold: int, cropper: FaceCropper | None) -> layouts.Pair:
    """AFEW's clips of both parts in five folds, each with its share of every class; people are not known."""
    parts = [layouts.afew_part(root, names, faces) for names, faces in layouts.AFEW_PARTS]
    entries, cropped = [entry for part, _ in parts for entry in part], all(kind for _, kind in parts)
    return _pair("afew-folds", layouts.AFEW_FOLDERS, entries, by_class(entries), fold, cropped, cropper)


def daisee_test(root: Path, fold: int, cropper: FaceCropper | None) -> layouts.Pair:
    """DAiSEE, trained on its official training part and validated on its official test part."""
    train, test = (
        ListedClips("daisee-test", labels.DAISEE_ENGAGEMENT, layouts.daisee_part(root, part), False, cropper)
        for part in ("Train", "Test")
    )
    return train, test


def daisee_folds(root: Path, fold: int, cropper: FaceCropper | None) -> layouts.Pair:
    """DAiSEE's clips of all three parts in five folds by person, in order of their names."""
    entries = [entry for part in ("Train", "Validation", "Test") for entry in layouts.daisee_part(root, part)]
    people = sorted({entry.person for entry in entries})
    places = [people.index(entry.person) % 5 for entry in entries]
    return _pair("daisee-folds", labels.DAISEE_ENGAGEMENT, entries, places, fold, False, cropper)


def by_class(entries: Sequence[Entry]) -> list[int]:
    """A fold from 0 for each clip: every class is dealt out in turn, in an order drawn once and for all."""
    places, dealt = [0] * len(entries), 0
    for label in sorted({entry.label for entry in entries}):
        own = [index for index, entry in enumerate(entries) if entry.label == label]
        for place, position in enumerate(np.random.default_rng(0).permutation(len(own))):
            places[own[int(position)]] = (dealt + place) % 5
        dealt += len(own)
    return places


def _pair(
    name: str,
    names: tuple[str, ...],
    entries: Sequence[Entry],
    places: Sequence[int],
    fold: int,
    cropped: bool,
    cropper: FaceCropper | None,
) -> layouts.Pair:
    held = [place == fold - 1 for place in places]
    parts = [[entry for entry, out in zip(entries, held, strict=True) if out == wanted] for wanted in (False, True)]
    train, val = (ListedClips(name, names, part, cropped, cropper) for part in parts)
    return train, val
