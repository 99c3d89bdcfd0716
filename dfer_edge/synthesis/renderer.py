"""Renders one labelled clip from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.synthesis.action_units import shape_matrix, shape_weights
from dfer_edge.synthesis.animation import Performance, drawn, perform, uneven
from dfer_edge.synthesis.annotation import make_outline
from dfer_edge.synthesis.atlas import Atlas, make_atlas
from dfer_edge.synthesis.clip import ClipSettings, SyntheticClip
from dfer_edge.synthesis.clip_frames import footage
from dfer_edge.synthesis.face_model import FaceModel
from dfer_edge.synthesis.native import NATIVE
from dfer_edge.synthesis.person import Person, draw_person
from dfer_edge.synthesis.recipes import CLASSES, SHIFTS
from dfer_edge.synthesis.scene import HEAD_CENTRE_CM, Light


class FaceRenderer:
    """Renders clips of one face model; holds the buffers of a frame, so one for each thread.

    Parameters
    ----------
    model
        Of :func:`load_face_model`.
    others
        int64 [N]: vertices whose places :attr:`Shot.marked` gives beside those of the landmarks.
    """

    def __init__(self, model: FaceModel, others: np.ndarray | None = None) -> None:
        self.model = model
        self.atlas: Atlas = make_atlas(model)
        self.outline = make_outline(model, others)
        self._moves = np.ascontiguousarray(model.expression[:, self.outline.vertices])
        self._units = shape_matrix(model.shape_names)
        self._shifts = [model.shape_index[name] for name in SHIFTS]
        self._last: tuple[tuple[int, int], Person] | None = None
        self._native = NATIVE.Renderer(**_runs(model.expression))

    def _person(self, set_seed: int, number: int) -> Person:
        if self._last is None or self._last[0] != (set_seed, number):
            self._last = (set_seed, number), self.person(np.random.default_rng([0, set_seed, number]))
        return self._last[1]

    def person(self, rng: np.random.Generator) -> Person:
        """Draw a person (some 10 ms)."""
        return draw_person(rng, self.model, self.atlas, self.outline)

    def weights(self, performance: Performance) -> np.ndarray:
        """Weights of the model's shapes; float32 [T, K]."""
        weights = shape_weights(performance.units, self._units, self.model.shape_names)
        weights[:, self._shifts] += performance.shifts
        return weights

    def landmarks(self, person: Person, weights: np.ndarray) -> np.ndarray:
        """``person.landmarks`` with an expression, head space, cm; float32 [T, 68 + 17 * M + N, 3]."""
        # Not through BLAS, whose rounding depends on its threads: workers have one, the caller's process may have more.
        return np.asarray(person.landmarks + np.einsum("tk,kvj->tvj", weights, self._moves), np.float32)

    def frame(
        self,
        person: Person,
        light: Light,
        *,
        size: int,
        weights: np.ndarray,
        folds: np.ndarray,
        rotation: np.ndarray,
        affine: np.ndarray,
        distance_cm: float,
        gaze: np.ndarray,
    ) -> np.ndarray:
        """One frame: linear RGB times coverage, and coverage; float32 [size, size, 4]."""
        image = self._native.render(
            person.bound,
            weights,
            folds,
            size=size,
            rotation=rotation,
            centre=HEAD_CENTRE_CM,
            distance=float(distance_cm),
            affine=_supersampled(affine),
            gaze=np.concatenate([gaze, gaze]),
            eye_radii=person.eye_radii,
            eye_colours=person.eye_colours,
            lash_keep=person.lash_keep,
            seed=0,
            surfaces=person.surfaces,
            skin=light.skin,
            lights=light.lamps,
            ambient=light.ambient,
            shadow=light.shadow,
            occlusion=light.occlusion,
        )
        return np.asarray(image)

    def clip(self, seed: tuple[int, int], label: int, settings: ClipSettings) -> SyntheticClip:
        """Draw and render a clip; the same bytes for the same arguments.

        Raises
        ------
        InvalidInput
            No such label.
        """
        if not 0 <= label < len(CLASSES):
            raise InvalidInput(f"expected a label from 0 to {len(CLASSES) - 1}, got {label}")
        person = self._person(seed[0], seed[1] // settings.clips_per_person)
        rng = np.random.default_rng([1, *seed, label])
        fps = settings.fps or float(np.exp(rng.uniform(np.log(8.0), np.log(30.0))))
        times_s = np.arange(settings.frames) / fps
        if drawn(rng, settings.jitter):
            times_s = uneven(rng, times_s)
        performance = perform(rng, label, times_s, settings.pose_spread, drawn(rng, settings.brief))
        frames, landmarks, head = footage(self, rng, person, performance, settings)
        return SyntheticClip(
            frames=frames,
            label=label,
            label_name=CLASSES[label],
            intensity=performance.intensity,
            action_units=performance.units.mean(axis=2),
            landmarks=landmarks,
            head_pose=head,
            times_s=times_s.astype(np.float32),
            seed=seed,
            person=seed[1] // settings.clips_per_person,
        )


def _supersampled(affine: np.ndarray) -> np.ndarray:
    return np.asarray(affine * np.float32(2.0))


def _runs(expression: np.ndarray) -> dict[str, Any]:
    """Blend shapes as runs of moving vertices; short gaps are filled."""
    start, begin, length, delta = [0], [], [], []
    for shape in expression:
        moving = np.flatnonzero(np.abs(shape).max(axis=1) > 1e-4)
        cuts = np.flatnonzero(np.diff(moving) > 6)
        firsts = moving[np.r_[0, cuts + 1]] if len(moving) else moving
        lasts = moving[np.r_[cuts, len(moving) - 1]] if len(moving) else moving
        for first, last in zip(firsts, lasts, strict=True):
            begin.append(int(first))
            length.append(int(last - first + 1))
            delta.append(shape[first : last + 1].ravel())
        start.append(len(begin))
    return {
        "shape_start": np.array(start, np.int64),
        "run_begin": np.array(begin, np.int32),
        "run_length": np.array(length, np.int32),
        "delta": np.concatenate(delta).astype(np.float32) if delta else np.zeros(0, np.float32),
    }
