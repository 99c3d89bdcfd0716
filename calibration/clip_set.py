"""Calibration clips, kept on disk and read as often as needed; and the proof that they can calibrate a network.

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
from dfer_edge.flow import preprocess
from dfer_edge.inference.parts import check_feed
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Box, Clip

Feed = Mapping[str, FloatArray]
Progress = Callable[[int, int | None], None]

LEAST_CLIPS = 16
"""Fewer clips do not show what the network will see."""


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
