"""Calibration clips: real faces through the one preprocessing, kept on disk, read as often as needed.

Random arrays are never made here: ranges of noise are not ranges of faces. Too few clips, clips that are all alike and
clips without content are refused, because the ranges that they give look fine and are not.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfer_edge.engines.base import FloatArray
from dfer_edge.errors import CalibrationError, DferError, InvalidInput
from dfer_edge.faces import FaceFinder, FaceFollower, for_network
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.faces.prepared import FaceStore
from dfer_edge.flow import preprocess
from dfer_edge.flow.pipeline import Windower, WindowPlan
from dfer_edge.inference.parts import check_feed
from dfer_edge.sources.opening import is_media, open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Box, Clip

Feed = Mapping[str, FloatArray]
Progress = Callable[[int, int | None], None]

LEAST_CLIPS = 16
"""Fewer clips do not show what the network will see."""

# Window and hop in seconds, tried in turn until there are clips enough: long ones are what the network meets in use.
_WINDOWS = ((4.0, 1.0), (2.0, 0.5), (1.0, 0.25))


class _Kept(NamedTuple):
    """What is known of a clip: class, source (its own if None), first and last frame in that source."""

    truth: int | None
    source: str | None
    first: int
    last: int


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
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def truth(self) -> list[int] | None:
        known = [clip.truth for clip in self._kept.values() if clip.truth is not None]
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
        """About all clips but one in ``every``, and those: to calibrate on the first and look at the second.

        Whole sources are held out, because windows of one video overlap. Where no source is small enough for that, the
        last part of each is, and clips that reach into it are in neither subset.
        """
        held = self._whole_sources(every)
        straddling: set[int] = set()
        if 2 * every * len(held) < len(self):
            held, straddling = self._tails(every)
        used = [number for number in range(len(self)) if number not in held and number not in straddling]
        return Subset(self, used), Subset(self, sorted(held))

    def _by_source(self) -> list[list[int]]:
        """Numbers of the clips of each source, in the order in which sources came."""
        found: dict[object, list[int]] = {}
        for number, clip in enumerate(self._kept.values()):
            found.setdefault(number if clip.source is None else clip.source, []).append(number)
        return list(found.values())

    def _whole_sources(self, every: int) -> set[int]:
        """Sources spread over the set, of those with one clip each ``every``-th; then whichever still fit."""
        held: set[int] = set()
        total = 0
        for numbers in self._by_source():
            total += len(numbers)
            if every * (len(held) + len(numbers)) <= total:
                held.update(numbers)
        for numbers in self._by_source():
            if every * len(held.union(numbers)) <= total:
                held.update(numbers)
        return held

    def _tails(self, every: int) -> tuple[set[int], set[int]]:
        """Of each source the clips that begin last, and those that reach beyond the first frame of these."""
        clips = list(self._kept.values())
        held: set[int] = set()
        straddling: set[int] = set()
        for numbers in self._by_source():
            ordered = sorted(numbers, key=lambda number: clips[number].first)
            if tail := ordered[len(ordered) - len(ordered) // every :]:
                begin = clips[tail[0]].first
                held.update(number for number in numbers if clips[number].first >= begin)
                straddling.update(number for number in numbers if clips[number].first < begin <= clips[number].last)
        return held, straddling

    def add(self, clip: Clip, truth: int | None = None, source: str | None = None) -> bool:
        """Keep one clip; False for one that is there already.

        Parameters
        ----------
        clip
            With landmarks for networks that take them.
        truth
            The position of its class, if that is known.
        source
            What it was cut from; :meth:`split` takes clips of one source, whose frames may overlap, for alike.

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
        if self.spec.landmarks and clip.landmarks is None:
            raise InvalidInput(f"expected {self.spec.landmarks} landmarks a frame for {self.spec.name}, got none")
        kept = {"frames": clip.frames} | ({} if clip.landmarks is None else {"landmarks": clip.landmarks})
        digest = _digest(kept)
        if digest in self._kept:
            return False
        try:
            np.savez(self._path(len(self)), **kept)  # type: ignore[arg-type] # the stub takes flags only
        except OSError as error:
            raise CalibrationError(f"cannot keep clips in {self._folder.name}: {error}", "set TMPDIR") from error
        first, last = (min(clip.frame_indices), max(clip.frame_indices)) if clip.frame_indices else (0, 0)
        self._kept[digest] = _Kept(truth, source, first, last)
        return True

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.npz"

    def digests(self) -> list[str]:
        """Hash of each clip's content."""
        return list(self._kept)

    def sources(self) -> set[str]:
        """Everything that clips were cut from."""
        return {clip.source for clip in self._kept.values() if clip.source is not None}


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
    detector: str | Path | Detector = "auto",
    landmark_detector: str | Path | LandmarkDetector | None = None,
    progress: Progress | None = None,
    prepared: str | Path | None = None,
) -> ClipSet:
    """Up to ``count`` different clips of the faces in a folder of videos and pictures, and in its sub-folders.

    Parameters
    ----------
    folder
        Read in name order. Videos are cut into overlapping windows, of 4 s first and of 2 and 1 s if that gives too
        few; a picture is a clip of one frame. Files give in turns, so that a long one does not fill the set. A set of
        ``dfer-edge synth`` gives its clips with their classes.
    spec
        Decides crop, size, sampling and normalisation.
    count
        When to stop.
    detector
        As for :class:`dfer_edge.Recognizer`.
    landmark_detector
        Where the network or its face boxes need one; that of :func:`dfer_edge.faces.make_landmark_detector` if None.
    progress
        Called with files read and files in all.
    prepared
        As for :class:`dfer_edge.Recognizer`: where found faces are kept.

    Raises
    ------
    CalibrationError
        For a folder that is missing, has no media or shows no face.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CalibrationError(f"expected a folder with videos of faces, found none at {folder}")
    # The renderer, which inference does not need.
    from dfer_edge.synthesis.storage import MANIFEST

    if (folder / MANIFEST).is_file():
        from dfer_edge.calibration.rendered import from_rendered  # it fills the class of this module

        return from_rendered(folder, spec, count, detector, landmark_detector, progress)
    paths = sorted(path for path in folder.rglob("*") if is_media(path))
    if not paths:
        raise CalibrationError(f"expected videos or pictures in {folder}, found none")
    clips = ClipSet(spec)
    finder, landmarks = for_network(spec, detector, landmark_detector or "auto")
    collector = _Collector(clips, count, finder, landmarks, FaceStore(prepared, finder) if prepared else None)
    for number, seconds in enumerate(_WINDOWS):
        for done in collector.collect(paths, WindowPlan(*seconds)):
            if progress:
                progress(number * len(paths) + done, len(_WINDOWS) * len(paths))
    clips.skipped.update(collector.skipped())
    if not len(clips):
        raise CalibrationError(f"expected faces in {folder}, found none in {len(paths)} files")
    return clips


class _Collector:
    """Fills a set from files in turns, each read again from its start in each turn: one is open at a time."""

    def __init__(
        self,
        clips: ClipSet,
        count: int,
        finder: FaceFinder,
        landmarks: LandmarkDetector | None,
        store: FaceStore | None,
    ) -> None:
        self._clips, self._count, self._finder, self._landmarks, self._store = clips, count, finder, landmarks, store
        self._barren: dict[str, str] = {}

    def collect(self, paths: Sequence[Path], plan: WindowPlan) -> Iterator[int]:
        """Take windows of the files until the set is full or they have no more; yields how many files are done."""
        more = [path for path in paths if str(path) not in self._barren]
        done = len(paths) - len(more)
        while more and (room := self._count - len(self._clips)) > 0:
            share, turn, more = max(1, room // len(more)), more, []
            for path in turn:
                if self._cut(path, plan, share):
                    more.append(path)
                else:
                    done += 1
                    yield done
        yield len(paths)

    def skipped(self) -> dict[str, str]:
        """Files that never gave a clip, with the reason."""
        gave = self._clips.sources()
        return {path: reason for path, reason in self._barren.items() if path not in gave}

    def _cut(self, path: Path, plan: WindowPlan, share: int) -> bool:
        """Add up to ``share`` new clips of a file; whether it may have more."""
        before = len(self._clips)
        most = min(before + share, self._count)
        if before == most:
            return True
        windower = Windower(self._clips.spec, plan, Stopwatch(), landmark_detector=self._landmarks)
        try:
            source = open_source(path)
            tracker = FaceFollower(self._finder) if self._store is None else self._store.tracker(source)
            for window in windower.windows(source, tracker):
                for clip in window.clips.values():
                    if len(self._clips) >= most:
                        return True
                    self._clips.add(clip, source=str(path))
        except InvalidInput as error:
            self._barren[str(path)] = error.message
        if str(path) not in self._clips.sources():
            self._barren.setdefault(str(path), "no face, or nothing new")
        return False


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
        constant += all(_is_constant(value) for name, value in feed.items() if name != "landmarks")
        digests.setdefault(_digest(feed), number)
    if len(digests) < LEAST_CLIPS:
        total = f"{len(clips)} clips, {len(digests)} of them different" if len(digests) < len(clips) else len(clips)
        raise CalibrationError(
            f"expected at least {LEAST_CLIPS} different clips, got {total}",
            "give more videos of faces; some hundred clips are usual",
        )
    if constant:
        raise CalibrationError(
            f"expected clips with content, {constant} of {len(clips)} have one colour in every pixel: their ranges are "
            "degenerate"
        )
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _is_constant(value: FloatArray) -> bool:
    """Whether each channel (axis 1) has one value over space and time."""
    channels = np.moveaxis(value, 1, 0)
    return not np.ptp(channels.reshape(len(channels), -1), axis=1).any()


def _check_clip(feed: Feed, shapes: Mapping[str, tuple[int, ...]], number: int) -> None:
    try:
        check_feed(feed, shapes, dict.fromkeys(shapes, np.dtype(np.float32)))
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
