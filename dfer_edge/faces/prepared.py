"""Faces of a data set, found once and kept: boxes and landmarks on disk, so that no epoch finds them again.

One file a video or folder of pictures, named by what it depends on: the bytes of the source, the detector, the landmark
network and the rules of this version. A file that is stale is not found, one that is damaged does not verify and is
made again, one that is half written is never seen. No pixels are kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact, DferError
from dfer_edge.faces.aligned import FaceFinder
from dfer_edge.faces.follow import FaceFollower
from dfer_edge.faces.geometry import box_of
from dfer_edge.sources.frames import Source
from dfer_edge.sources.opening import FolderSource, open_source
from dfer_edge.system import settings
from dfer_edge.types import Box, Frame, Points, TrackedFace

_LOG = logging.getLogger("dfer_edge")

RULE = "3"
"""Of following and placing: another number where the same detectors would find other faces."""

_SUFFIX = ".faces"
_SHAPES: dict[str, tuple[type, tuple[int, ...]]] = {
    "tracks": (np.int32, ()),
    "frames": (np.int32, ()),
    "boxes": (np.float32, (4,)),
    "landmarks": (np.float32, (68, 2)),
    "scores": (np.float32, ()),
}


@dataclasses.dataclass(frozen=True)
class PreparedTrack:
    """One person of a file.

    Attributes
    ----------
    track_id
        As the follower gave it.
    frame_indices
        int32 [N], ascending: where the person was seen.
    boxes
        float32 [N, 4], as the network wants them.
    landmarks
        float32 [N, 68, 2] in pixels of the frames; NaN where none were seen.
    scores
        float32 [N], 0 to 1.
    """

    track_id: int
    frame_indices: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float32]
    landmarks: Points
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame_indices)

    def at(self, frame_index: int) -> tuple[Box, Points | None]:
        """Box and points in a frame, or in the nearest one in which the person was seen."""
        place = int(np.abs(self.frame_indices.astype(np.int64) - frame_index).argmin())
        points = self.landmarks[place]
        return Box(*self.boxes[place].tolist()), None if np.isnan(points).any() else points


@dataclasses.dataclass(frozen=True)
class FileFaces:
    """The faces of one file.

    Attributes
    ----------
    length
        Frames that decode.
    tracks
        The person seen in most frames first, of two alike the larger; none if the file shows no face.
    """

    length: int
    tracks: tuple[PreparedTrack, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """What :func:`prepare` did: files whose faces were found now, and were there; path -> reason for the others."""

    found: int
    reused: int
    skipped: Mapping[str, str]


class FaceStore:
    """Where faces are kept.

    Parameters
    ----------
    folder
        Made on first write; ``faces`` in the cache folder if None.
    finder
        Finds what is not there yet, and says how boxes are laid. A detector or landmark detector of the user's is told
        apart by its ``fingerprint`` (any text), else by its class alone: give it one if it may change.
    """

    def __init__(self, folder: str | Path | None, finder: FaceFinder) -> None:
        self.folder = settings.cache_folder() / "faces" if folder is None else Path(folder)
        self._finder = finder
        self._made_by = {
            "detector": fingerprint(finder.detector),
            "landmarks": "" if finder.landmarks is None else fingerprint(finder.landmarks),
            "rule": RULE,
        }

    def get(self, path: str | Path) -> FileFaces | None:
        """The faces of a file if they are there and verify; one that does not is logged.

        Raises
        ------
        DferError
            If the source does not read.
        """
        file, key = self._place(Path(path))
        try:
            return self._read(file, key)
        except FileNotFoundError:
            return None
        except (OSError, CorruptArtifact) as error:
            _LOG.warning("prepared faces of %s are not used: %s", path, error)
            return None

    def obtain(self, path: str | Path) -> FileFaces:
        """The faces of a file, found now if they are not there.

        Raises
        ------
        DferError
            If the source does not read, or the folder cannot be written.
        """
        known = self.get(path)
        if known is not None:
            return known
        file, key = self._place(Path(path))
        length, arrays = _find(open_source(path), self._finder)
        self._write(file, key, length, arrays)
        return _faces(self._finder, length, arrays)

    def tracker(self, source: Source) -> FaceFollower | KeptFaces:
        """The tracker of a source: of a file the kept faces, found now if they are not there; else one that follows.

        Raises
        ------
        DferError
            As :meth:`obtain`.
        """
        path = Path(source.name)
        # A live source, an address or an array has no bytes to know it by.
        if getattr(source, "live", False) or not path.exists():
            return FaceFollower(self._finder)
        return KeptFaces(self.obtain(path))

    def _place(self, path: Path) -> tuple[Path, dict[str, str]]:
        key = {**self._made_by, "source": _source_sha256(path)}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        # Two letters a folder: data sets have tens of thousands of clips.
        return self.folder / digest[:2] / (digest[2:34] + _SUFFIX), key

    def _read(self, file: Path, key: dict[str, str]) -> FileFaces:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        content = file.read_bytes()
        try:
            size = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + size])["__metadata__"]
            arrays = load(content)
            length = int(metadata["length"])
            if json.loads(metadata["key"]) != key:
                raise CorruptArtifact(f"expected faces of {key} in {file}, got {metadata['key']}")
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifact(f"expected prepared faces, got {file}: {error!r}") from error
        if metadata.get("sha256") != _sha256(length, arrays) or not _whole(arrays):
            raise CorruptArtifact(f"expected the faces that were written to {file}, its bytes have changed")
        return _faces(self._finder, length, arrays)

    def _write(self, file: Path, key: dict[str, str], length: int, arrays: dict[str, Any]) -> None:
        from safetensors.numpy import save

        digest = _sha256(length, arrays)
        content = save(arrays, {"key": json.dumps(key, sort_keys=True), "length": str(length), "sha256": digest})
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkstemp(prefix="part-", dir=file.parent)[1])
            try:
                partial.write_bytes(content)
                partial.replace(file)
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink()
                raise
        except OSError as error:
            hint = "name another folder for prepared faces"
            raise DferError(f"cannot write prepared faces to {self.folder}: {error}", hint) from error


class KeptFaces:
    """The tracker of a file whose faces are known: gives each of its frames what was found in it.

    Parameters
    ----------
    found
        Of the file.
    """

    def __init__(self, found: FileFaces) -> None:
        self._by_frame: dict[int, list[TrackedFace]] = {}
        for track in sorted(found.tracks, key=lambda track: track.track_id):
            for index, box, points, score in zip(
                track.frame_indices.tolist(), track.boxes.tolist(), track.landmarks, track.scores.tolist(), strict=True
            ):
                known = None if np.isnan(points).any() else points
                self._by_frame.setdefault(index, []).append(TrackedFace(track.track_id, Box(*box), known, score))

    def track(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        """Every frame with its faces, in order."""
        for frame in frames:
            yield frame, tuple(self._by_frame.get(frame.index, ()))


def find_faces(source: Source, finder: FaceFinder) -> FileFaces:
    """The faces of a source as :class:`FaceStore` would find them, kept nowhere.

    Raises
    ------
    DferError
        If the source does not read.
    """
    return _faces(finder, *_find(source, finder))


def prepare(paths: Iterable[str | Path], store: FaceStore, progress: Callable[[int], None] | None = None) -> Report:
    """Find and keep the faces of many files.

    Parameters
    ----------
    paths
        Videos, pictures or folders of pictures; those that do not read are skipped.
    store
        Where.
    progress
        Called with the number of files done.

    Raises
    ------
    DferError
        If the folder cannot be written.
    """
    found = reused = 0
    skipped: dict[str, str] = {}
    for number, path in enumerate(paths):
        try:
            if store.get(path) is not None:
                reused += 1
            else:
                store.obtain(path)
                found += 1
        except DferError as error:
            if isinstance(error.__cause__, OSError) and str(store.folder) in error.message:
                raise
            skipped[str(path)] = error.message
        if progress:
            progress(number + 1)
    return Report(found, reused, skipped)


def fingerprint(detector: Any) -> str:
    """What tells a detector from others: its ``fingerprint``, or its class, with OpenCV's version for cascades."""
    own = getattr(detector, "fingerprint", None)
    kind = type(detector)
    return str(own) if own else f"{kind.__module__}.{kind.__qualname__}, OpenCV {cv2.__version__}"


def _find(source: Source, finder: FaceFinder) -> tuple[int, dict[str, Any]]:
    # The detector's boxes, carried by the points: those that landmarks lay follow from the points.
    plain = FaceFinder(finder.detector, finder.landmarks, aligns=False)
    rows: list[tuple[int, int, Box, Points | None, float]] = []
    length = 0
    for frame, faces in FaceFollower(plain).track(source):
        length += 1
        rows += [(face.track_id, frame.index, face.box, face.landmarks, face.score) for face in faces]
    lost = np.full((68, 2), np.nan, np.float32)
    columns = list(zip(*rows, strict=True)) or [()] * len(_SHAPES)
    columns[3] = tuple(lost if points is None else points for points in columns[3])
    arrays: dict[str, Any] = {}
    for (name, (dtype, shape)), column in zip(_SHAPES.items(), columns, strict=True):
        arrays[name] = np.asarray(column, dtype).reshape(len(rows), *shape)
    return length, arrays


def _faces(finder: FaceFinder, length: int, arrays: Mapping[str, Any]) -> FileFaces:
    tracks = []
    for track_id in np.unique(arrays["tracks"]).tolist():
        rows = arrays["tracks"] == track_id
        boxes, points = arrays["boxes"][rows], arrays["landmarks"][rows]
        if finder.aligns:
            boxes = boxes.copy()
            for row in np.flatnonzero(~np.isnan(points).any((1, 2))).tolist():
                boxes[row] = box_of(points[row])
        tracks.append(PreparedTrack(track_id, arrays["frames"][rows], boxes, points, arrays["scores"][rows]))
    tracks.sort(key=lambda track: (-len(track), -_area(track)))
    return FileFaces(length, tuple(tracks))


def _whole(arrays: Mapping[str, Any]) -> bool:
    if set(arrays) != set(_SHAPES):
        return False
    count = len(arrays["tracks"])
    return all(arrays[n].dtype == kind and arrays[n].shape == (count, *shape) for n, (kind, shape) in _SHAPES.items())


def _sha256(length: int, arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(str(length).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _area(track: PreparedTrack) -> float:
    sides = track.boxes[:, 2:] - track.boxes[:, :2]
    return float(sides.prod(1).mean())


def _source_sha256(path: Path) -> str:
    """Of a file's bytes, or of a folder's pictures in their order, with their names."""
    if path.is_file():
        return file_sha256(path)
    source = open_source(path)
    if not isinstance(source, FolderSource):
        raise DferError(f"expected a file or a folder of pictures to prepare, got {path}")
    digest = hashlib.sha256()
    for picture in source.paths:
        digest.update(f"{picture.name}:{file_sha256(picture)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
