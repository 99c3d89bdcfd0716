"""Clips listed by path and label: videos or folders of frames, decoded by :mod:`dfer_edge.sources`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.sources.frames import Source
from dfer_edge.sources.opening import FolderSource, open_source
from dfer_edge.training.data.faces import FaceCropper, Found
from dfer_edge.training.data.samples import Choose, ClipSource, Sample, UnreadableClip
from dfer_edge.types import Image


@dataclasses.dataclass(frozen=True)
class Entry:
    """One clip.

    Attributes
    ----------
    path
        Video, image or folder of frames.
    label
        Class name as the data set spells it.
    person
        Who it is, any text; empty if unknown.
    part
        Of the data set, for figures by part: a scene of FERV39k, an age group of FACES; empty for none.
    """

    path: Path
    label: str
    person: str = ""
    part: str = ""


class ListedClips:
    """A data set on disk.

    Parameters
    ----------
    name
        For logs.
    labels
        Class names, as the entries spell them.
    entries
        The clips; those that do not exist are left out and listed in ``missing``.
    cropped
        Frames are face crops.
    cropper
        Finds faces and landmarks; None takes the frames as they are.

    Raises
    ------
    InvalidInput
        If no clip exists, or an entry has a label that is none of ``labels``.
    """

    def __init__(
        self,
        name: str,
        labels: tuple[str, ...],
        entries: Sequence[Entry],
        cropped: bool = True,
        cropper: FaceCropper | None = None,
    ) -> None:
        self.name, self.labels, self._cropped, self._cropper = name, labels, cropped, cropper
        found = [entry for entry in entries if entry.path.exists()]
        self.missing: Mapping[str, str] = {
            str(entry.path): "listed, but not there" for entry in entries if not entry.path.exists()
        }
        if not found:
            first = f", e.g. {entries[0].path}" if entries else ""
            raise InvalidInput(f"expected clips of {name}, none of the {len(entries)} listed ones exist{first}")
        unknown = sorted({entry.label for entry in found} - set(labels))
        if unknown:
            raise InvalidInput(f"expected labels out of {', '.join(labels)} in {name}, got {', '.join(unknown)}")
        self.entries = found
        self.part_names = [entry.part for entry in found]
        self.targets = np.asarray([labels.index(entry.label) for entry in found], np.int64)
        people = {person: number for number, person in enumerate(sorted({e.person for e in found if e.person}))}
        self.groups = np.asarray([people.get(entry.person, -1) for entry in found], np.int64)

    def __len__(self) -> int:
        return len(self.entries)

    def describe(self, index: int) -> str:
        return str(self.entries[index].path)

    def source(self, index: int) -> ClipSource:
        return ClipSource(self.entries[index].path, self._cropped)

    def read(self, index: int, choose: Choose) -> Sample:
        try:
            path, positions = self.entries[index].path, [0]

            def noted(length: int) -> Sequence[int]:
                positions[:] = [int(position) for position in choose(length)]
                return positions

            frames = read_frames(path, noted)
            found = Found(None, None)
            if self._cropper is not None:
                found = self._cropper.find_in(path, positions, frames, self._cropped)
        except UnreadableClip:
            raise
        except DferError as error:
            raise UnreadableClip(error.message) from error
        return Sample(frames, int(self.targets[index]), found.landmarks, boxes=found.boxes)


def read_frames(path: Path, choose: Choose) -> list[Image]:
    """Frames ``choose(length)`` of a video or a folder; declared lengths are hints, the decoded one counts.

    Raises
    ------
    InvalidInput
        If nothing decodes.
    """
    source = open_source(path)
    if isinstance(source, FolderSource):
        return _from_folder(source, choose)
    hint = source.length_hint
    if hint is not None:
        chosen = [int(position) for position in choose(hint)]
        kept = _kept(source, set(chosen))
        if all(position in kept for position in chosen):
            return [kept[position] for position in chosen]
        source = open_source(path)
    length = sum(1 for _ in source)
    chosen = [int(position) for position in choose(length)]
    kept = _kept(open_source(path), set(chosen))
    return [kept[position] for position in chosen]


def _kept(source: Source, wanted: set[int]) -> dict[int, Image]:
    # Decoding stops after the last frame that is wanted.
    return {f.index: f.image for f in islice(iter(source), max(wanted) + 1) if f.index in wanted}


def _from_folder(source: FolderSource, choose: Choose) -> list[Image]:
    chosen = [source.paths[int(position)] for position in choose(len(source.paths))]
    images = {path: next(iter(open_source(path))).image for path in dict.fromkeys(chosen)}
    shapes = {image.shape for image in images.values()}
    if len(shapes) > 1:
        raise InvalidInput(f"expected images of one size in {source.name}, got {sorted(shapes)}")
    return [images[path] for path in chosen]
