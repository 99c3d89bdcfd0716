"""Calibration clips out of folders: real faces through the one preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dfer_edge.calibration.clip_set import ClipSet, Progress
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.faces import FaceFinder, FaceFollower, for_network
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.faces.prepared import FaceStore
from dfer_edge.flow.pipeline import Windower, WindowPlan
from dfer_edge.sources.opening import is_media, open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.system.stopwatch import Stopwatch

# Window and hop in seconds, tried in turn until there are clips enough: long ones are what the network meets in use.
_WINDOWS = ((4.0, 1.0), (2.0, 0.5), (1.0, 0.25))


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
    from dfer_edge.calibration.rendered import from_rendered
    from dfer_edge.synthesis.storage import MANIFEST

    if (folder / MANIFEST).is_file():
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
