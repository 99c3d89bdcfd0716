"""Which files are samples: a folder of sets, ``<set>/<label>/<file or folder of frames>``."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from dfer_edge import labels as label_names
from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.sources.opening import IMAGES

# Samples and files of each set of the validation part: fewer are a cut that stopped halfway.
WHOLE = {
    "affectnet_hull200": (214, 214),
    "ckplus_seq640": (40, 684),
    "jaffe256": (108, 108),
    "lfw_imfdb_muxspace": (188, 188),
    "mead_clips": (14, 14),
    "sfew_frames720": (135, 135),
    "stock_named": (30, 30),
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """A still, a clip or a folder of frames, with the label that people gave it.

    Attributes
    ----------
    group
        Name of the folder of sets that it lies in: means are over the sets of a group.
    set
        Name of its set.
    label
        In the spelling of the network.
    path
        Of the file or the folder of frames.
    """

    group: str
    set: str
    label: str
    path: Path

    @property
    def is_sequence(self) -> bool:
        return self.path.suffix.lower() not in IMAGES

    @property
    def key(self) -> tuple[str, str, str]:
        """Set, label and file name: the same on every machine."""
        return self.set, self.label, self.path.name


def find(folder: str | Path, labels: Sequence[str], sets: Sequence[str] = (), any_size: bool = False) -> list[Sample]:
    """The samples of a folder of sets, in the order of their names.

    Parameters
    ----------
    folder
        Sub-folders without a folder named like a label are no sets.
    labels
        Class names of the network; folders are matched by :func:`dfer_edge.labels.position`.
    sets
        Take these only.
    any_size
        Do not ask that the validation part be whole.

    Raises
    ------
    SourceNotFound
        If the folder, or a set that was asked for, is not there.
    InvalidInput
        If nothing is a sample, a label's folder or a sequence is empty, or the validation part is not whole.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceNotFound(f"expected a folder of sets, found none at {folder}", "cut.py --out lays it out")
    found = [
        Sample(folder.name, part.name, labels[index], path)
        for part in sorted(folder.iterdir())
        if part.is_dir() and (not sets or part.name in sets)
        for place in sorted(part.iterdir())
        if place.is_dir() and (index := label_names.position(place.name, labels)) is not None
        for path in _members(place)
    ]
    present = {sample.set for sample in found}
    if missing := [name for name in sets if name not in present]:
        raise SourceNotFound(f"expected the sets {', '.join(sets)} in {folder}, {missing[0]} has no samples")
    if not found:
        raise InvalidInput(f"expected <set>/<label>/<file> in {folder}, with labels {', '.join(labels)}; found none")
    if not any_size:
        _require_whole(folder, found, sets)
    return found


def _members(place: Path) -> list[Path]:
    paths = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    if not paths:
        raise InvalidInput(f"expected samples in {place}, it is empty: half cut")
    for path in paths:
        if path.is_dir() and not _files(path):
            raise InvalidInput(f"expected frames in {path}, it is empty: half cut")
    return paths


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _require_whole(folder: Path, found: Sequence[Sample], sets: Sequence[str]) -> None:
    present = {sample.set for sample in found}
    if not present & set(WHOLE):
        return
    for name, expected in WHOLE.items():
        if sets and name not in sets:
            continue
        own = [sample for sample in found if sample.set == name]
        counts = len(own), sum(len(_files(sample.path)) for sample in own)
        if counts != expected:
            raise InvalidInput(
                f"expected {expected[0]} samples of {expected[1]} files in {folder / name}, got {counts[0]} of "
                f"{counts[1]}: half cut",
                "cut it again, or take other sets of these names with --any-size",
            )


def digest(samples: Sequence[Sample]) -> str:
    """SHA-256 of sets, labels, names and sizes: two runs with the same were of the same files."""
    total = hashlib.sha256()
    for sample in samples:
        for file in _files(sample.path):
            total.update(f"{'/'.join(sample.key)}|{file.name}|{file.stat().st_size}\n".encode())
    return total.hexdigest()
