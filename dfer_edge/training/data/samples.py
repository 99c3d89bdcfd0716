"""What training reads: one protocol for rendered shards and for every data set of the field."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.labels import canonical
from dfer_edge.types import Box, Image, Points

# Auxiliary targets of a :class:`Sample`, each an array with a row a frame.
TARGETS = ("landmarks", "units", "intensity")

# Gets the number of frames of a clip, gives the positions to read.
Choose = Callable[[int], Sequence[int]]


class UnreadableClip(InvalidInput):
    """A clip that cannot be read or shows no face: skipped, counted and listed, not fatal."""


class LostFace(UnreadableClip):
    """A clip that reads but in which no face was found: in validation it counts as wrong."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Frames of one clip with their targets.

    Attributes
    ----------
    frames
        T frames, uint8 RGB [H, W, 3], of one size.
    label
        Class index in the data set's ``labels``.
    landmarks
        float32 [T, 68, 2], x then y in pixels of the frames; None if unknown.
    units
        float32 [T, U]: intensity of each action unit, or [T, U, 2] with the left and the right half of the image apart;
        None if unknown.
    intensity
        float32 [T]: strength of the expression, 0 to 1; None if unknown.
    boxes
        Face box of each frame, in its pixels; None if frames are face crops, of which the network reads all or, as
        its spec says, the middle.
    """

    frames: Sequence[Image]
    label: int
    landmarks: Points | None = None
    units: npt.NDArray[np.float32] | None = None
    intensity: npt.NDArray[np.float32] | None = None
    boxes: Sequence[Box] | None = None

    def at(self, positions: Sequence[int]) -> Sample:
        """The same clip of some of its frames."""
        places = list(positions)
        return dataclasses.replace(
            self,
            frames=[self.frames[place] for place in places],
            landmarks=None if self.landmarks is None else self.landmarks[places],
            units=None if self.units is None else self.units[places],
            intensity=None if self.intensity is None else self.intensity[places],
            boxes=None if self.boxes is None else [self.boxes[place] for place in places],
        )


@dataclasses.dataclass(frozen=True)
class ClipSource:
    """A clip as a user would pass it to :meth:`dfer_edge.Recognizer.predict`.

    Attributes
    ----------
    source
        A path, or all frames.
    cropped
        Frames are face crops.
    landmarks
        float32 [T, 68, 2] in pixels of the frames, where the data set itself holds them.
    """

    source: Path | Sequence[Image]
    cropped: bool
    landmarks: Points | None = None


class ClipDataset(Protocol):
    """Clips with labels.

    Attributes
    ----------
    name
        For logs and the notes of the weights file.
    labels
        Class names in the order of the targets.
    targets
        int64 [N]: class index of each clip.
    groups
        int64 [N]: who is in the clip, for splits by identity; equal numbers are one person, -1 is unknown.
    missing
        Clips that are listed but not there -> what is wrong.
    """

    name: str
    labels: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    missing: Mapping[str, str]

    def describe(self, index: int) -> str:
        """Name of a clip, for the list of skipped ones."""
        ...

    def source(self, index: int) -> ClipSource:
        """The clip for inference; nothing is read yet where it is a path."""
        ...

    def read(self, index: int, choose: Choose) -> Sample:
        """Frames ``choose(length)`` of clip ``index``.

        Raises
        ------
        UnreadableClip
            If the clip does not decode, or as :class:`LostFace`.
        """
        ...


def parts_of(data: ClipDataset, indices: Sequence[int] | npt.NDArray[np.int64] | None = None) -> list[str]:
    """Which part of its data set each clip is of (a scene, an age group), empty where there are none."""
    chosen = range(len(data.targets)) if indices is None else indices
    own: Sequence[str] = getattr(data, "part_names", ())
    return [own[int(index)] if own else "" for index in chosen]


def target_shapes(data: ClipDataset) -> dict[str, tuple[int, ...]]:
    """Auxiliary targets of a data set: name -> shape a frame, from its first clip that reads.

    Raises
    ------
    InvalidInput
        If the first 20 clips do not read.
    """
    for index in range(min(len(data.targets), 20)):
        with contextlib.suppress(UnreadableClip):
            sample = data.read(index, lambda _: [0])
            arrays = {name: getattr(sample, name) for name in TARGETS}
            return {name: value.shape[1:] for name, value in arrays.items() if value is not None}
    raise InvalidInput(f"expected clips that read, the first ones of {data.name} do not")


class Subset:
    """Some clips of a data set, possibly with another order of classes.

    Parameters
    ----------
    base
        The data set.
    indices
        Its clips, in order.
    labels
        Class names to map the base's onto, by name; clips of classes that are not among them are left out.
    """

    def __init__(self, base: ClipDataset, indices: npt.ArrayLike, labels: tuple[str, ...] | None = None) -> None:
        chosen = np.asarray(indices, np.int64)
        self.base, self.name, self.labels = base, base.name, labels or base.labels
        own = {canonical(name): position for position, name in enumerate(self.labels)}
        self._map = np.asarray([own.get(canonical(name), -1) for name in base.labels], np.int64)
        mapped = self._map[base.targets[chosen]] if len(chosen) else chosen
        self.indices = chosen[mapped >= 0]
        self.targets, self.groups, self.missing = mapped[mapped >= 0], base.groups[self.indices], base.missing
        self.part_names = parts_of(base, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def describe(self, index: int) -> str:
        return self.base.describe(int(self.indices[index]))

    def source(self, index: int) -> ClipSource:
        return self.base.source(int(self.indices[index]))

    def read(self, index: int, choose: Choose) -> Sample:
        sample = self.base.read(int(self.indices[index]), choose)
        return dataclasses.replace(sample, label=int(self.targets[index]))


def require_all_classes(dataset: ClipDataset, purpose: str) -> None:
    """InvalidInput that names the classes without a sample."""
    present = set(np.unique(dataset.targets).tolist())
    empty = [name for index, name in enumerate(dataset.labels) if index not in present]
    if empty:
        raise InvalidInput(
            f"expected samples of every class in {purpose} {dataset.name}, found none of {', '.join(empty)}",
            "leave the class out with --labels, or add samples of it",
        )


def without_lost(data: ClipDataset) -> Subset:
    """The clips in whose first frame a face is found; the others, and those that do not read, join ``missing``."""
    lost = {index: reason for index in range(len(data.targets)) if (reason := _unreadable(data, index))}
    found = Subset(data, [index for index in range(len(data.targets)) if index not in lost])
    found.missing = {**data.missing, **{data.describe(index): reason for index, reason in lost.items()}}
    return found


def _unreadable(data: ClipDataset, index: int) -> str:
    """Why the first frame of a clip does not read or shows no face; empty if it does."""
    try:
        data.read(index, lambda _: [0])
    except UnreadableClip as error:
        return error.message
    return ""


def split_groups(
    groups: npt.NDArray[np.int64], share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of training and validation, no person in both; unknown persons count one each.

    Raises
    ------
    InvalidInput
        If there are not two persons to part.
    """
    identity = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups)
    people = np.unique(identity)
    if len(people) < 2:
        raise InvalidInput(f"expected at least two identities to split, got {len(people)}", "pass --val a data set")
    held_out = np.random.default_rng(seed).permutation(people)[: max(1, round(share * len(people)))]
    inside = np.isin(identity, held_out)
    return np.flatnonzero(~inside), np.flatnonzero(inside)
