"""Calibration clips: real faces through the one preprocessing, kept on disk, read as often as needed.

Random arrays are never made here: ranges of noise are not ranges of faces. Too few clips, clips that are all alike and
clips without content are refused, because the ranges that they give look fine and are not.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import preprocess
from dfer_edge.engines.base import FloatArray
from dfer_edge.errors import CalibrationError, DferError, InvalidInput
from dfer_edge.faces import FaceTracker, make_detector
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.inference.parts import check_feed
from dfer_edge.pipeline import Windower, WindowPlan
from dfer_edge.sources import open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.stopwatch import Stopwatch
from dfer_edge.synthesis.storage import MANIFEST
from dfer_edge.types import Box, Clip

Feed = Mapping[str, FloatArray]
Progress = Callable[[int, int | None], None]

LEAST_CLIPS = 16
"""Fewer clips do not show what the network will see."""

# Window and hop in seconds, tried in turn until there are clips enough: long ones are what the network meets in use.
_WINDOWS = ((4.0, 1.0), (2.0, 0.5), (1.0, 0.25))
_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".jpg", ".jpeg", ".png", ".bmp"}


class ClipSet:
    """Clips on disk, as many times as asked for; memory holds one of them.

    Parameters
    ----------
    spec
        Of the network that will see them.

    Attributes
    ----------
    skipped
        Files that gave no clip, with the reason.
    truth
        Class of each clip as a position in the labels; None unless every clip came with one.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.skipped: dict[str, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="dfer-edge-clips-")
        self._digests: dict[str, int | None] = {}

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def truth(self) -> list[int] | None:
        known = [label for label in self._digests.values() if label is not None]
        return known if len(known) == len(self) else None

    def __iter__(self) -> Iterator[dict[str, FloatArray]]:
        return self.pick(range(len(self)))

    def pick(self, numbers: Iterable[int]) -> Iterator[dict[str, FloatArray]]:
        """Feeds with these numbers, in this order, one clip each; of an image network that is a row a frame."""
        for number in numbers:
            with np.load(self._path(number)) as file:
                kept = dict(file)
            clip = Clip(kept["frames"], (), Box(0, 0, self.spec.size, self.spec.size), kept.get("landmarks"))
            yield preprocess.to_feed([clip], self.spec)

    def split(self, every: int) -> tuple[Subset, Subset]:
        """All clips but each ``every``-th, and those: to calibrate on the first and look at the second."""
        held = range(every - 1, len(self), every)
        return Subset(self, [n for n in range(len(self)) if n not in held]), Subset(self, list(held))

    def add(self, clip: Clip, truth: int | None = None) -> bool:
        """Keep one clip, with the position of its class if that is known; False for one that is there already.

        Raises
        ------
        InvalidInput
            For a clip that the network does not take.
        CalibrationError
            If the disk is full.
        """
        size = self.spec.size
        if clip.frames.shape != (self.spec.frames, size, size, 3) or clip.frames.dtype != np.uint8:
            raise InvalidInput(f"expected uint8 [{self.spec.frames}, {size}, {size}, 3], got {clip.frames.shape}")
        if truth is not None and not 0 <= truth < self.spec.num_classes:
            raise InvalidInput(f"expected a class from 0 to {self.spec.num_classes - 1}, got {truth}")
        kept = {"frames": clip.frames} | ({} if clip.landmarks is None else {"landmarks": clip.landmarks})
        digest = _digest(kept)
        if digest in self._digests:
            return False
        try:
            np.savez(self._path(len(self)), **kept)  # type: ignore[arg-type] # the stub takes flags only
        except OSError as error:
            raise CalibrationError(f"cannot keep clips in {self._folder.name}: {error}", "set TMPDIR") from error
        self._digests[digest] = truth
        return True

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.npz"

    def digests(self) -> list[str]:
        """Hash of each clip's content."""
        return list(self._digests)


class Subset(Sequence[Feed]):
    """Some clips of a set."""

    def __init__(self, clips: ClipSet, numbers: Sequence[int]) -> None:
        self._clips, self._numbers = clips, list(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def truth(self) -> list[int] | None:
        """As of the set."""
        return None if self._clips.truth is None else [self._clips.truth[number] for number in self._numbers]

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return Subset(self._clips, self._numbers[position])
        return next(self._clips.pick([self._numbers[position]]))

    def __iter__(self) -> Iterator[Feed]:
        return self._clips.pick(self._numbers)


def from_folder(
    folder: str | Path,
    spec: ModelSpec,
    count: int = 512,
    detector: str = "auto",
    landmark_detector: LandmarkDetector | None = None,
    progress: Progress | None = None,
) -> ClipSet:
    """Up to ``count`` different clips of the faces in a folder of videos and pictures, and in its sub-folders.

    Parameters
    ----------
    folder
        Read in name order. Videos are cut into overlapping windows, of 4 s first and of 2 and 1 s if that gives too
        few; a picture is a clip of one frame. A set of ``dfer-edge synth`` gives its clips with their classes.
    spec
        Decides crop, size, sampling and normalisation.
    count
        When to stop.
    detector
        As for :class:`dfer_edge.Recognizer`.
    landmark_detector
        For networks that take landmarks.
    progress
        Called with files read and files in all.

    Raises
    ------
    CalibrationError
        For a folder that is missing, has no media or shows no face.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CalibrationError(f"expected a folder with videos of faces, found none at {folder}")
    if (folder / MANIFEST).is_file():
        from dfer_edge.calibration.rendered import from_rendered  # it fills the class of this module

        return from_rendered(folder, spec, count, detector, landmark_detector, progress)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not paths:
        raise CalibrationError(f"expected videos or pictures in {folder}, found none")
    clips, found, done = ClipSet(spec), make_detector(detector), 0
    for window_s, hop_s in _WINDOWS:
        for path in paths:
            if len(clips) < count and str(path) not in clips.skipped:
                _add_windows(clips, path, WindowPlan(window_s, hop_s), count, FaceTracker(found), landmark_detector)
            done += 1
            if progress:
                progress(done, len(_WINDOWS) * len(paths))
    if not len(clips):
        raise CalibrationError(f"expected faces in {folder}, found none in {len(paths)} files")
    return clips


def _add_windows(
    clips: ClipSet, path: Path, plan: WindowPlan, count: int, tracker: FaceTracker, landmarks: LandmarkDetector | None
) -> None:
    try:
        windower = Windower(clips.spec, plan, Stopwatch(), landmark_detector=landmarks)
        before = len(clips)
        for window in windower.windows(open_source(path), tracker):
            for clip in window.clips.values():
                if len(clips) >= count:
                    return
                clips.add(clip)
        if len(clips) == before and str(path) not in clips.skipped:
            clips.skipped.setdefault(str(path), "no face, or nothing new")
    except InvalidInput as error:
        clips.skipped[str(path)] = error.message


def check(clips: Sequence[Feed] | ClipSet, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Prove that clips can calibrate a network; returns the hash of all of them.

    Parameters
    ----------
    clips
        Feeds: input name -> normalised float32 [B, ...].
    shapes
        Input name -> shape without the batch axis.

    Raises
    ------
    CalibrationError
        For fewer than :data:`LEAST_CLIPS`, clips that repeat, clips without content, NaN, wrong shapes, or something
        that can be read only once.
    """
    if not hasattr(clips, "__len__"):
        raise CalibrationError("expected clips that can be read twice, got a generator", "pass a list or a ClipSet")
    digests: dict[str, int] = {}
    constant = 0
    for number, feed in enumerate(clips):
        _check_clip(feed, shapes, number)
        constant += all(float(np.ptp(value)) == 0 for value in feed.values())
        digests.setdefault(_digest(feed), number)
    if len(digests) < LEAST_CLIPS:
        total = f"{len(clips)} clips, {len(digests)} of them different" if len(digests) < len(clips) else len(clips)
        raise CalibrationError(
            f"expected at least {LEAST_CLIPS} different clips, got {total}",
            "give more videos of faces; some hundred clips are usual",
        )
    if constant:
        raise CalibrationError(
            f"expected clips with content, {constant} of {len(clips)} have one value in every pixel: their ranges are "
            "degenerate"
        )
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _check_clip(feed: Feed, shapes: Mapping[str, tuple[int, ...]], number: int) -> None:
    try:
        check_feed(feed, shapes, np.dtype(np.float32))
    except (DferError, TypeError) as error:
        raise CalibrationError(f"clip {number} does not fit the network: {error}") from error
    for name, value in feed.items():
        if not np.isfinite(value).all():
            raise CalibrationError(f"expected finite values, got NaN or infinity in {name} of clip {number}")


def _digest(feed: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(feed):
        digest.update(f"{name}|{feed[name].shape}|".encode())
        digest.update(np.ascontiguousarray(feed[name]).data)
    return digest.hexdigest()
