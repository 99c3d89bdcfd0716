"""The table of data sets that ``NAME:PATH`` may name: each one's layout and its number of folds.

A new data set is a function of :mod:`~dfer_edge.training.data.layouts` and a row of :data:`LAYOUTS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dfer_edge.training.data import folds, layouts
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.samples import ClipDataset
from dfer_edge.training.data.shards import open_shards


@dataclasses.dataclass(frozen=True)
class Layout:
    """A data set's folder layout.

    Attributes
    ----------
    folds
        Number of its folds; 1 for one official split, 0 for none.
    open
        (folder, fold from 1, cropper) -> training and validation set; without a split both are the same set.
    """

    folds: int
    open: Callable[[Path, int, FaceCropper | None], tuple[ClipDataset, ClipDataset]]


def _shards(folder: Path, fold: int, cropper: FaceCropper | None) -> tuple[ClipDataset, ClipDataset]:
    data = open_shards(folder)
    return data, data


LAYOUTS: dict[str, Layout] = {
    "shards": Layout(0, _shards),
    "folder": Layout(1, layouts.class_folders),
    "dfew": Layout(5, layouts.dfew),
    "ferv39k": Layout(1, layouts.ferv39k),
    "mafw": Layout(5, layouts.mafw),
    "afew": Layout(1, layouts.afew),
    "afew-folds": Layout(5, folds.afew_folds),
    "ck+": Layout(5, layouts.ck_plus),
    "oulu-casia": Layout(5, layouts.oulu_casia),
    "oulu-casia-images": Layout(5, layouts.oulu_casia_images),
    "daisee": Layout(1, layouts.daisee),
    "daisee-test": Layout(1, folds.daisee_test),
    "daisee-folds": Layout(5, folds.daisee_folds),
    "faces": Layout(0, layouts.faces),
}
