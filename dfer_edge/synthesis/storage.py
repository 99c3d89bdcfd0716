"""Rendered sets on disk: uint8 frames that can be memory-mapped, labels beside them, and a manifest.

A folder holds ``manifest.json`` and, for each shard, ``frames-00000.npy`` (uint8 [N, T, S, S, 3], RGB) and
``labels-00000.npz`` (the other fields of :class:`SyntheticClip`, stacked). A shard counts once the manifest names it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput, SourceNotFound
from dfer_edge.synthesis.action_units import AU_NAMES
from dfer_edge.synthesis.clip import SyntheticClip
from dfer_edge.synthesis.dataset import SyntheticClips
from dfer_edge.synthesis.recipes import CLASSES

FORMAT = "dfer-edge rendered clips 1"
MANIFEST = "manifest.json"
_SHARD_BYTES = 128 * 2**20
_ARRAYS = ("intensity", "action_units", "landmarks", "head_pose", "times_s")


def write_clips(
    clips: SyntheticClips,
    folder: str | Path,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Render a set into a folder; a folder left by an interrupted run of the same set is completed.

    Parameters
    ----------
    progress
        Called with clips written and clips in all.

    Returns
    -------
    The manifest.

    Raises
    ------
    InvalidInput
        The folder holds another set, or something else.
    DferError
        The disk is full, or the folder cannot be written; whole shards stay.
    """
    folder = Path(folder)
    manifest = _begin(clips, folder)
    done = sum(shard["count"] for shard in manifest["shards"])
    frame_bytes = clips.settings.frames * clips.settings.size**2 * 3
    per_shard = max(1, min(clips.count, _SHARD_BYTES // frame_bytes))
    with contextlib.closing(clips.range(done, clips.count)) as source:
        while done < clips.count:
            batch = []
            for clip in itertools.islice(source, per_shard):
                batch.append(clip)
                progress(done + len(batch), clips.count)
            _write_shard(folder, len(manifest["shards"]), batch)
            manifest["shards"].append({"number": len(manifest["shards"]), "count": len(batch)})
            _write_manifest(folder, manifest)
            done += len(batch)
    return manifest


def _begin(clips: SyntheticClips, folder: Path) -> dict[str, Any]:
    """The manifest to go on from; in the folder before the first shard is, so that that one can be interrupted too."""
    job = {name: value for name, value in clips.job().items() if name != "model"}
    fresh = {"format": FORMAT, "synthetic": True, "job": job, "classes": list(CLASSES), "units": list(AU_NAMES)}
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        if {name: manifest.get(name) for name in fresh} != fresh:
            raise InvalidInput(f"expected an empty folder, {folder} holds another rendered set", "name another folder")
        return manifest
    # A kill while the manifest was first written leaves its scratch file.
    if folder.exists() and (not folder.is_dir() or any(path.name != f"{MANIFEST}.part" for path in folder.iterdir())):
        raise InvalidInput(f"expected an empty folder or none at {folder}", "name another folder")
    _guard(folder, lambda: folder.mkdir(parents=True, exist_ok=True))
    manifest = {**fresh, "shards": []}
    _write_manifest(folder, manifest)
    return manifest


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    _write(folder / MANIFEST, lambda file: file.write(json.dumps(manifest, indent=1).encode()))


def _write_shard(folder: Path, number: int, batch: Sequence[SyntheticClip]) -> None:
    frames = np.stack([clip.frames for clip in batch])
    labels = {name: np.stack([getattr(clip, name) for clip in batch]) for name in _ARRAYS}
    labels["label"] = np.array([clip.label for clip in batch], np.int64)
    labels["seed"] = np.array([clip.seed for clip in batch], np.int64)
    labels["person"] = np.array([clip.person for clip in batch], np.int64)
    _write(folder / f"labels-{number:05d}.npz", lambda file: np.savez(file, allow_pickle=False, **labels))
    _write(folder / f"frames-{number:05d}.npy", lambda file: np.save(file, frames))


def _guard(path: Path, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"no space left for {path}" if full else f"cannot write {path}: {error.strerror or error}"
        raise DferError(
            what, "free some space and run the same command: whole shards are kept" if full else ""
        ) from error


def _write(path: Path, fill: Callable[[Any], object]) -> None:
    """All of a file or nothing under its name."""
    partial = path.with_name(path.name + ".part")

    def attempt() -> None:
        with partial.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    try:
        _guard(path, attempt)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a rendered set.

    Raises
    ------
    SourceNotFound, CorruptArtifact
        There is none, or it is not one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SourceNotFound(f"expected a rendered set in {folder}, found no {MANIFEST}", "dfer-edge synth --out DIR")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        if manifest["format"] != FORMAT or not isinstance(manifest["shards"], list):
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"expected a manifest of rendered clips at {path}: {error}") from error
    return manifest


class RenderedClips(Sequence[SyntheticClip]):
    """A rendered set read back; frames are memory-mapped and copied when a clip is taken.

    Parameters
    ----------
    folder
        What ``dfer-edge synth --out`` wrote.

    Raises
    ------
    SourceNotFound, CorruptArtifact
        No manifest, a shard that it names is missing, or a shard of another shape.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._frames: list[np.ndarray] = []
        self._labels: list[dict[str, np.ndarray]] = []
        for shard in self.manifest["shards"]:
            frames, labels = self._open(shard["number"])
            counts = {len(frames), *(len(array) for array in labels.values()), shard["count"]}
            if len(counts) != 1:
                raise CorruptArtifact(f"expected {shard['count']} clips in shard {shard['number']}, found {counts}")
            self._frames.append(frames)
            self._labels.append(labels)
        self._starts = np.cumsum([0, *(len(frames) for frames in self._frames)])

    def _open(self, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        path = self.folder / f"frames-{number:05d}.npy"
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
            with np.load(self.folder / f"labels-{number:05d}.npz", allow_pickle=False) as archive:
                labels = {name: archive[name] for name in (*_ARRAYS, "label", "seed", "person")}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise CorruptArtifact(f"expected shard {number} of a rendered set at {path}: {error}") from error
        return frames, labels

    @property
    def shards(self) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Frames (memory-mapped, uint8 [N, T, S, S, 3]) and the other fields ([N, ...]) of each shard."""
        return list(zip(self._frames, self._labels, strict=True))

    @property
    def labels(self) -> np.ndarray:
        """Labels of all clips without touching a frame; int64 [N]."""
        return self.column("label")

    def column(self, name: str) -> np.ndarray:
        """One field of all clips, stacked: ``label``, ``person``, ``landmarks``, ``intensity`` ...; [N, ...]."""
        if not self._labels:
            return np.zeros(0, np.int64)
        if name not in self._labels[0]:
            raise InvalidInput(f"expected a field among {', '.join(self._labels[0])}, got {name}")
        return np.concatenate([labels[name] for labels in self._labels])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[SyntheticClip]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> SyntheticClip:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index %= len(self)
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[shard])
        labels = self._labels[shard]
        label, seed = int(labels["label"][row]), labels["seed"][row]
        return SyntheticClip(
            frames=np.array(self._frames[shard][row]),
            label=label,
            label_name=self.manifest["classes"][label],
            seed=(int(seed[0]), int(seed[1])),
            person=int(labels["person"][row]),
            **{name: labels[name][row] for name in _ARRAYS},
        )


def write_preview(clips: Sequence[SyntheticClip], path: str | Path, columns: int = 10) -> None:
    """A montage with a row for each class, the middle frame of each clip.

    Raises
    ------
    InvalidInput
        No clips, or the file cannot be written.
    """
    rows: dict[int, list[np.ndarray]] = {}
    for index in range(min(len(clips), columns * len(CLASSES) * 2)):
        clip = clips[index]
        row = rows.setdefault(clip.label, [])
        if len(row) < columns:
            row.append(clip.frames[len(clip.frames) // 2])
    if not rows:
        raise InvalidInput("expected clips to preview, got none")
    size = next(iter(rows.values()))[0].shape[0]
    width = max(len(row) for row in rows.values())
    sheet = np.zeros((len(rows) * size, width * size, 3), np.uint8)
    for line, label in enumerate(sorted(rows)):
        for column, image in enumerate(rows[label]):
            sheet[line * size : (line + 1) * size, column * size : (column + 1) * size] = image
    _, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    _write(Path(path), lambda file: file.write(data.tobytes()))
