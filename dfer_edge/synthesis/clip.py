"""What a rendered clip holds, and what all clips of a set share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfer_edge.errors import InvalidInput

# Settings of clips over time that draw nothing at zero.
SHARES = ("brief", "jitter", "cuts")


@dataclass(frozen=True)
class SyntheticClip:
    """A rendered clip and everything known about it.

    Attributes
    ----------
    frames
        uint8 [T, S, S, 3], RGB.
    label, label_name
        Index into ``CLASSES`` and its name.
    intensity
        float32 [T], 0 to 1; 0 throughout for neutral.
    action_units
        float32 [T, n_AU], mean of both sides, in the order of ``AU_NAMES``.
    landmarks
        float32 [T, 68, 2], x then y in pixels, a pixel's centre at whole numbers, iBUG order (0 to 16 run from the
        image's left, the subject's right).
    head_pose
        float32 [T, 3], yaw, pitch and roll in rad; positive yaw turns to the image's right, positive pitch is down.
    times_s
        float32 [T].
    seed
        What drew this clip: (seed of the set, index in it).
    person
        Number of the person in the set; clips of one person belong on one side of a split.
    """

    frames: np.ndarray
    label: int
    label_name: str
    intensity: np.ndarray
    action_units: np.ndarray
    landmarks: np.ndarray
    head_pose: np.ndarray
    times_s: np.ndarray
    seed: tuple[int, int]
    person: int


@dataclass(frozen=True)
class ClipSettings:
    """What all clips of a set share.

    Attributes
    ----------
    frames, size
        Number of frames and side of the square image, 64 to 256 pixels being usual.
    span
        Width of the view in units of s, the root mean square of eye distance and eye-mouth distance.
    fps
        Frames a second; None draws 8 to 30 a clip, so that clips cover half a second to several.
    pose_spread
        1: head yaw has a standard deviation of 0.3 rad; 0: frontal.
    degrade
        Share of camera and codec faults, 0 to 1.
    clips_per_person
        Consecutive clips that show the same person; painting one costs as much as rendering several frames.
    brief
        Share of clips of people at rest but for 0.25 to 1.5 seconds; in the others the expression fills most of it.
    jitter
        Share of clips whose frames come at uneven intervals, as of phones and of streams that lose frames.
    cuts
        Share of clips in which another camera, with its own light and film, takes over once.
    """

    frames: int = 16
    size: int = 112
    span: float = 3.0
    fps: float | None = None
    pose_spread: float = 1.0
    degrade: float = 1.0
    clips_per_person: int = 1
    brief: float = 0.0
    jitter: float = 0.0
    cuts: float = 0.0

    def __post_init__(self) -> None:
        limits = (
            ("frames", self.frames, 1, 10_000),
            ("size", self.size, 16, 512),
            ("span", self.span, 1.0, 8.0),
            ("pose_spread", self.pose_spread, 0.0, 2.0),
            ("degrade", self.degrade, 0.0, 1.0),
            ("clips_per_person", self.clips_per_person, 1, 1_000_000),
            *((name, getattr(self, name), 0.0, 1.0) for name in SHARES),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise InvalidInput(f"expected {name} from {low} to {high}, got {value}")
        if self.fps is not None and not 1.0 <= self.fps <= 1000.0:
            raise InvalidInput(f"expected 1 to 1000 frames a second, got {self.fps}")
