"""Calibration clips out of rendered sets: faces with known labels, where nobody may give real ones.

What ships with the package is calibrated on these. They take the way of a user's clip: detector, crop, sampling.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from dfer_edge import labels
from dfer_edge.calibration.clip_set import ClipSet, Progress
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.faces import FaceFollower, for_network
from dfer_edge.faces.detectors import Detector
from dfer_edge.faces.landmarks import LandmarkDetector
from dfer_edge.flow.pipeline import Windower, WindowPlan
from dfer_edge.sources.opening import open_source
from dfer_edge.spec import ModelSpec
from dfer_edge.synthesis import RenderedClips, SyntheticClip, SyntheticClips, write_clips
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Clip

# Far from the seeds that sets are trained and evaluated with: nobody counts up to it.
SEED = 1_608_637_542
# Frames a clip and pixels a side of what is rendered for calibration alone, as sets are trained with.
_FRAMES, _SIZE = 12, 112
_WHOLE = WindowPlan(math.inf, math.inf, longest_only=True)


def from_rendered(
    folder: str | Path,
    spec: ModelSpec,
    count: int = 512,
    detector: str | Path | Detector = "auto",
    landmark_detector: str | Path | LandmarkDetector | None = None,
    progress: Progress | None = None,
) -> ClipSet:
    """Up to ``count`` clips of a set that ``dfer-edge synth`` wrote, with their true classes.

    Parameters
    ----------
    folder
        With a manifest. The order is that of the set, which goes round the classes.
    spec
        Of the network; clips of classes that it does not have stay out.
    count, detector, landmark_detector, progress
        As in :func:`dfer_edge.calibration.from_folder`.

    Raises
    ------
    CalibrationError
        If no clip shows a face and has a class of the network's.
    SourceNotFound, CorruptArtifact
        If the folder is no rendered set, or a damaged one.
    """
    rendered, clips = RenderedClips(folder), ClipSet(spec)
    found, landmarks = for_network(spec, detector, landmark_detector or "auto")
    for number, drawn in enumerate(rendered):
        if len(clips) >= count:
            break
        truth = labels.position(drawn.label_name, spec.labels)
        clip = _clip(drawn, spec, found, landmarks) if truth is not None else f"no class {drawn.label_name}"
        if isinstance(clip, str):
            clips.skipped[f"{folder}[{number}]"] = clip
        else:
            clips.add(clip, truth)
        if progress:
            progress(number + 1, min(count, len(rendered)))
    if not len(clips):
        raise CalibrationError(f"expected faces of {', '.join(spec.labels)} in {folder}, found none")
    return clips


def render(
    spec: ModelSpec,
    count: int,
    detector: str | Path | Detector = "auto",
    landmark_detector: str | Path | LandmarkDetector | None = None,
    progress: Progress | None = None,
    workers: int = 0,
) -> ClipSet:
    """``count`` clips, some fewer where the detector sees no face, rendered for calibration and not kept.

    The seed is :data:`SEED`: the same clips every time, and of no set that a network was trained on.

    Raises
    ------
    SourceNotFound
        If there is no face model; see :func:`dfer_edge.synthesis.load_face_model`.
    InvalidInput
        For fewer than one clip, or a network whose classes cannot be rendered.
    """
    classes = [name for name in labels.RENDERED if labels.position(name, spec.labels) is not None]
    if not classes:
        raise InvalidInput(f"expected a network of expressions to render clips for, got labels {spec.labels}")
    source = SyntheticClips(count, SEED, _FRAMES, _SIZE, workers, classes)
    with tempfile.TemporaryDirectory(prefix="dfer-edge-renders-") as folder:
        write_clips(source, folder, progress or (lambda done, total: None))
        return from_rendered(folder, spec, count, detector, landmark_detector)


def _clip(
    drawn: SyntheticClip, spec: ModelSpec, detector: Detector, landmark_detector: LandmarkDetector | None
) -> Clip | str:
    """The clip, or why there is none."""
    windower = Windower(spec, _WHOLE, Stopwatch(), landmark_detector=landmark_detector)
    window = next(windower.windows(open_source(list(drawn.frames)), FaceFollower(detector)), None)
    return next(iter(window.clips.values())) if window and window.clips else "no face"
