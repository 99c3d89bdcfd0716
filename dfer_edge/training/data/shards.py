"""Rendered faces: uint8 shards with labels, action units, landmarks and intensity, read through memory maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import CorruptArtifact
from dfer_edge.synthesis.storage import RenderedClips
from dfer_edge.training.data.samples import Choose, ClipSource, Sample

Array = npt.NDArray[Any]


class ArrayClips:
    """Clips that lie in arrays (memory maps).

    Parameters
    ----------
    name
        Of the data set.
    labels
        Class names.
    parts
        Per shard: ``frames`` uint8 [N, T, H, W, 3] RGB, ``labels`` [N], and where known ``landmarks`` [N, T, 68, 2] in
        pixels, ``units`` [N, T, U] or [N, T, U, 2], ``intensity`` [N, T], ``persons`` [N].
    """

    def __init__(self, name: str, labels: tuple[str, ...], parts: Sequence[Mapping[str, Array]]) -> None:
        self.name, self.labels, self._parts = name, labels, parts
        self.missing: Mapping[str, str] = {}
        for part in parts:
            _check(name, part, len(labels))
        counts = [len(part["labels"]) for part in parts]
        self._starts = np.cumsum([0, *counts])
        self.targets = np.concatenate([np.asarray(part["labels"], np.int64) for part in parts])
        unknown = [
            np.asarray(part.get("persons", np.full(n, -1)), np.int64) for part, n in zip(parts, counts, strict=True)
        ]
        self.groups = np.concatenate(unknown)

    def __len__(self) -> int:
        return len(self.targets)

    def describe(self, index: int) -> str:
        return f"{self.name}[{index}]"

    def source(self, index: int) -> ClipSource:
        whole = self.read(index, range)
        return ClipSource(whole.frames, cropped=True, landmarks=whole.landmarks)

    def read(self, index: int, choose: Choose) -> Sample:
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        part, row = self._parts[shard], index - int(self._starts[shard])
        chosen = list(choose(part["frames"].shape[1]))
        optional: dict[str, Any] = {
            key: np.asarray(part[key][row][chosen], np.float32)
            for key in ("landmarks", "units", "intensity")
            if key in part
        }
        return Sample(
            frames=list(np.asarray(part["frames"][row][chosen], np.uint8)), label=int(self.targets[index]), **optional
        )


def _check(name: str, part: Mapping[str, Array], classes: int) -> None:
    frames, targets = part["frames"], np.asarray(part["labels"])
    if frames.ndim != 5 or frames.dtype != np.uint8 or frames.shape[-1] != 3:
        raise CorruptArtifact(f"expected uint8 frames [N, T, H, W, 3] in {name}, got {frames.dtype} {frames.shape}")
    for key, value in part.items():
        if len(value) != len(frames):
            raise CorruptArtifact(f"expected {len(frames)} {key} in {name}, as many as clips; got {len(value)}")
    if len(targets) and not 0 <= targets.min() <= targets.max() < classes:
        raise CorruptArtifact(f"expected labels 0 to {classes - 1} in {name}, got {targets.min()} to {targets.max()}")


# Field of a rendered clip -> what :class:`ArrayClips` calls it.
_FIELDS = {"landmarks": "landmarks", "action_units": "units", "intensity": "intensity", "person": "persons"}


def open_shards(folder: Path) -> ArrayClips:
    """The set that ``dfer-edge synth`` wrote, with the classes that it was asked for.

    Raises
    ------
    SourceNotFound
        If the folder holds no manifest.
    CorruptArtifact
        If manifest and shards disagree.
    """
    rendered = RenderedClips(folder)
    names = tuple(rendered.manifest["classes"])
    labels = tuple(name for name in names if name in rendered.manifest["job"]["classes"])
    # Stored labels count all classes that can be rendered.
    place = np.full(len(names), -1)
    place[[names.index(name) for name in labels]] = np.arange(len(labels))
    parts = [
        {"frames": frames, "labels": place[fields["label"]]} | {own: fields[name] for name, own in _FIELDS.items()}
        for frames, fields in rendered.shards
    ]
    if not parts:
        raise CorruptArtifact(f"expected at least one shard in {folder}, got none")
    return ArrayClips(f"shards:{folder.name}", labels, parts)
