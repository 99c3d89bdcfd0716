"""What to evaluate on: samples with labels, found in the layouts that people keep them in.

A layout is a function from a path to its rows ``(file, label word)``, or to the reason why the path is not of that
layout. :data:`LAYOUTS` is their ordered list; the first that takes the path wins. A new layout is a function more. The
official layouts of the field's data sets, and rendered shards, are those of training: ``NAME:PATH``.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from dfer_edge import labels as label_names
from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.sources.opening import IMAGES, is_media
from dfer_edge.training.data import ClipDataset, open_named
from dfer_edge.training.data.samples import ClipSource, parts_of

_LOG = logging.getLogger("dfer_edge")
# What columns of a CSV are called: of files, and of labels.
_COLUMNS = (("path", "file", "filename", "video", "image", "clip"), ("label", "class", "emotion", "expression"))
_SYSTEM_FOLDERS = {"@eaDir", "__MACOSX"}

Rows = list[tuple[Path, str]]
Layout = Callable[[Path, Sequence[str]], "Rows | str"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One clip or still with its class.

    Attributes
    ----------
    name
        Its path below the data's folder.
    path
        A video, an image, or a folder with the frames of one clip.
    truth
        Position of its class in the network's labels.
    given
        Instead of a path: gives the clip of a data set of training, which knows whether its frames are face crops.
    part
        Of the data set, for figures by part: a scene, an age group; empty for none.
    """

    name: str
    path: Path
    truth: int
    given: Callable[[], ClipSource] | None = None
    part: str = ""

    @property
    def is_still(self) -> bool:
        return self.path.suffix.lower() in IMAGES


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Samples, and what was left out.

    Attributes
    ----------
    name
        Of the file or folder.
    layout
        How it was read.
    labels
        The network's class names.
    samples
        In order of their names.
    left_out
        Label word -> samples with it, which are not used: the network has no such class, or it was not asked for.
    """

    name: str
    layout: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: Mapping[str, int]

    @property
    def truth(self) -> list[int]:
        return [sample.truth for sample in self.samples]

    @property
    def per_class(self) -> dict[str, int]:
        """Class name -> samples, 0 included."""
        counts = Counter(self.truth)
        return {label: counts[index] for index, label in enumerate(self.labels)}


def read(path: str | Path, labels: Sequence[str], classes: Sequence[str] | None = None, fold: int = 1) -> DataSet:
    """Find the samples of a file or folder.

    Parameters
    ----------
    path
        A CSV with columns path and label (or the likes: file, class, emotion), or these two without a header; a folder
        with a folder per class; or a folder of files (or of folders with frames) whose label is the text before the
        first underscore. Or ``NAME:PATH`` of a data set that training knows, of which the validation part is taken, all
        of it where there is no official split.
    labels
        The network's class names; spellings are matched by :func:`dfer_edge.labels.canonical`.
    classes
        Use samples of these only; the network keeps all its outputs. All if None.
    fold
        From 1, of a data set that training knows.

    Raises
    ------
    SourceNotFound
        If nothing is at ``path``.
    InvalidInput
        If no layout fits (the message says what each looked for), a class is unknown, or no sample is left.
    """
    wanted = _wanted(labels, classes)
    if ":" in str(path) and not Path(path).exists():
        # No cropper: evaluation finds the faces by itself, as a user's call would.
        return from_clips(open_named(str(path), fold)[1], labels, wanted)
    path = Path(path)
    if not path.exists():
        raise SourceNotFound(f"expected a data set, found nothing at {path}")
    declined = []
    for name, layout in LAYOUTS.items():
        rows = layout(path, labels)
        if isinstance(rows, str):
            declined.append(f"{name}: {rows}")
            continue
        return _data_set(path, name, rows, labels, wanted)
    raise InvalidInput(f"expected a data set of a known layout, got {path}; {'; '.join(declined)}")


def from_clips(clips: ClipDataset, labels: Sequence[str], wanted: Collection[int]) -> DataSet:
    """The samples of a data set of training whose classes are among the positions ``wanted`` of ``labels``.

    Raises
    ------
    InvalidInput
        If no sample is left.
    """
    positions = [label_names.position(word, labels) for word in clips.labels]
    samples, left_out, parts = [], Counter[str](), parts_of(clips)
    for index, target in enumerate(clips.targets.tolist()):
        truth = positions[target]
        if truth is None or truth not in wanted:
            left_out[clips.labels[target]] += 1
            continue
        given = functools.partial(clips.source, index)
        samples.append(Sample(clips.describe(index), Path(), truth, given, parts[index]))
    if not samples:
        raise InvalidInput(f"expected samples of {', '.join(labels)} in {clips.name}, got labels {dict(left_out)}")
    return DataSet(clips.name, "of training", tuple(labels), tuple(samples), dict(left_out))


def _wanted(labels: Sequence[str], classes: Sequence[str] | None) -> set[int]:
    if classes is None:
        return set(range(len(labels)))
    found = {word: label_names.position(word, labels) for word in classes}
    if unknown := [word for word, index in found.items() if index is None]:
        raise InvalidInput(f"expected classes out of {', '.join(labels)}; got {', '.join(unknown)}")
    return {index for index in found.values() if index is not None}


def _data_set(path: Path, layout: str, rows: Rows, labels: Sequence[str], wanted: set[int]) -> DataSet:
    root = path if path.is_dir() else path.parent
    samples, left_out = [], Counter[str]()
    if numbers := sorted({word for _, word in rows if word.isdecimal() and label_names.position(word, labels) is None}):
        order = ", ".join(f"{index} {label}" for index, label in enumerate(labels))
        _LOG.warning("the labels %s of %s are taken in the network's order: %s", ", ".join(numbers), path, order)
    for file, word in sorted(rows):
        truth = _class_of(word, labels)
        if truth is None or truth not in wanted:
            left_out[word] += 1
            continue
        name = file.relative_to(root) if file.is_relative_to(root) else file
        samples.append(Sample(name.as_posix(), file, truth))
    if not samples:
        raise InvalidInput(
            f"expected samples of {', '.join(labels[index] for index in sorted(wanted))} in {path}, "
            f"got labels {dict(left_out)}"
        )
    return DataSet(path.name, layout, tuple(labels), tuple(samples), dict(left_out))


def _class_of(word: str, labels: Sequence[str]) -> int | None:
    found = label_names.position(word, labels)
    # Engagement sets number their levels.
    return int(word) if found is None and word.isdecimal() and int(word) < len(labels) else found


def _is_sample(path: Path) -> bool:
    if path.is_dir():
        return not path.name.startswith(".") and path.name not in _SYSTEM_FOLDERS
    return is_media(path)


def _samples_in(folder: Path) -> list[Path]:
    """The samples of a folder; what else lies there is named in the log, but for what systems leave."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = [entry for entry in entries if _is_sample(entry)]
    others = [entry.name for entry in entries if entry.name not in _SYSTEM_FOLDERS and not _is_sample(entry)]
    if others:
        names = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        _LOG.warning(
            "%d of %d in %s are no pictures or videos and are passed over: %s", len(others), len(entries), folder, names
        )
    return found


def _csv(path: Path, labels: Sequence[str]) -> Rows | str:
    if path.is_dir() or path.suffix.lower() != ".csv":
        return "looked for a .csv file"
    rows = _cells(path)
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = [next((header.index(name) for name in names if name in header), None) for names in _COLUMNS]
    named = None not in columns
    file_column, label_column = (columns[0] or 0, columns[1] or 0) if named else (0, 1)
    found = []
    for row in rows[named:]:
        if len(row) <= max(file_column, label_column):
            raise InvalidInput(f"expected a path and a label in each row of {path}, got {row}")
        file = path.parent / row[file_column].strip()
        if "\\" in file.name and not file.exists():
            file = path.parent / row[file_column].strip().replace("\\", "/")
        found.append((file, row[label_column].strip()))
    return found


def _cells(path: Path) -> list[list[str]]:
    """Rows of a CSV as spreadsheets of any country write it: commas, semicolons or tabs, UTF-8 or UTF-16."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
        first = next((line for line in text.splitlines() if line.strip()), "")
        comma = max(",;\t", key=first.count)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=comma)
        return [row for row in lines if row and any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        hint = "save it as UTF-8"
        raise InvalidInput(f"expected a CSV file of text, got {path}: {error}", hint) from error


def _folder_per_class(path: Path, labels: Sequence[str]) -> Rows | str:
    folders = [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
    if not any(label_names.position(folder.name, labels) is not None for folder in folders):
        return f"looked for a folder named after one of {', '.join(labels)}"
    return [(entry, folder.name) for folder in folders for entry in _samples_in(folder)]


def _prefix(path: Path, labels: Sequence[str]) -> Rows | str:
    entries = _samples_in(path) if path.is_dir() else []
    rows = [(entry, _leading_label(entry.stem, labels)) for entry in entries if "_" in entry.name]
    if not any(label_names.position(word, labels) is not None for _, word in rows):
        return f"looked for images or videos named LABEL_..., with a label out of {', '.join(labels)}"
    return rows


def _leading_label(stem: str, labels: Sequence[str]) -> str:
    """The text before the first underscore, or before a later one where a label has several words."""
    parts = stem.split("_")
    starts = ["_".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return next((start for start in starts if label_names.position(start, labels) is not None), parts[0])


LAYOUTS: dict[str, Layout] = {
    "CSV of path, label": _csv,
    "a folder per class": _folder_per_class,
    "label before the underscore": _prefix,
}
