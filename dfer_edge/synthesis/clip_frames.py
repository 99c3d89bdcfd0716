"""A person, a performance, a camera, a light and a film together: the frames of one clip."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from dfer_edge.synthesis.animation import Performance, drawn
from dfer_edge.synthesis.annotation import annotate
from dfer_edge.synthesis.background import draw_background
from dfer_edge.synthesis.clip import ClipSettings
from dfer_edge.synthesis.creases import gains
from dfer_edge.synthesis.overlay import draw_occluder, light_patch, motion_blur
from dfer_edge.synthesis.person import Person
from dfer_edge.synthesis.scene import draw_light, project, rotations, to_pixels, view_of
from dfer_edge.synthesis.sensor import develop, draw_film, exposure, finish

if TYPE_CHECKING:
    from dfer_edge.synthesis.renderer import FaceRenderer


class Shot:
    """Draws light, camera, background and film of a clip; then :meth:`frame` renders them one by one.

    Attributes
    ----------
    landmarks
        float32 [T, 68, 2], pixels.
    marked
        float32 [T, 68 + 17 * M + N, 2], pixels: the vertices of the renderer's outline.
    """

    def __init__(
        self,
        renderer: FaceRenderer,
        rng: np.random.Generator,
        person: Person,
        performance: Performance,
        settings: ClipSettings,
    ) -> None:
        self._renderer, self._rng, self._person, self._size = renderer, rng, person, settings.size
        self._gaze = performance.gaze
        self._light = draw_light(rng)
        self._film = draw_film(rng, settings.degrade)
        self._background = draw_background(rng, settings.size)
        self._occluder = draw_occluder(rng, person.look.skin) if rng.random() < settings.degrade else None
        self._patch = light_patch(rng, settings.size) if rng.random() < settings.degrade else None
        self._distance = float(rng.uniform(45.0, 140.0))
        self._weights = renderer.weights(performance)
        self._folds = gains(performance.units, person.fold_depth, person.engraved)
        self._rotation = rotations(performance.head)
        marked = project(renderer.landmarks(person, self._weights), self._rotation, self._distance)
        planes = annotate(marked, self._rotation, renderer.outline.outward)
        self._affine = view_of(planes, settings.size, settings.span, rng.normal(0.0, 0.015, 2))
        self.landmarks = to_pixels(planes, self._affine)
        self.marked = to_pixels(marked, self._affine)
        middle = self.landmarks.mean(axis=1)
        self._shift = middle - middle.mean(axis=0)
        shutter = rng.uniform(0.1, 0.6) * settings.degrade
        self._smear = np.gradient(middle, axis=0) * shutter if len(middle) > 1 else np.zeros_like(middle)
        self._factor: float | None = None

    def frame(self, t: int) -> np.ndarray:
        """Frame ``t``; uint8 [S, S, 3]. Frames are asked for in order: noise follows the clip's random numbers."""
        linear = self._renderer.frame(
            self._person,
            self._light,
            size=self._size,
            weights=self._weights[t],
            folds=self._folds[t],
            rotation=self._rotation[t],
            affine=self._affine[t],
            distance_cm=self._distance,
            gaze=self._gaze[t],
        )
        if self._factor is None:
            self._factor = exposure(self._film, linear, float(self._person.look.skin.mean()))
        if self._occluder is not None:
            self._occluder.draw(linear, self._shift[t], self._film.brightness**2.2 / self._factor / 0.3)
        linear = motion_blur(linear, self._smear[t])
        image = develop(self._film, linear, self._background, self._patch, self._factor)
        return finish(self._film, image, self._rng)


def footage(
    renderer: FaceRenderer,
    rng: np.random.Generator,
    person: Person,
    performance: Performance,
    settings: ClipSettings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames uint8 [T, S, S, 3], landmarks float32 [T, 68, 2] and head pose float32 [T, 3], over a cut if one falls."""
    count = settings.frames
    shot = Shot(renderer, rng, person, performance, settings)
    if count < 2 or not drawn(rng, settings.cuts):
        return np.stack([shot.frame(t) for t in range(count)]), shot.landmarks, performance.head
    cut = int(rng.integers(1, count))
    turned = np.asarray(performance.head + rng.uniform((-0.5, -0.2, -0.1), (0.5, 0.2, 0.1)), np.float32)
    other = Shot(renderer, rng, person, dataclasses.replace(performance, head=turned), settings)
    frames = np.stack([(shot if t < cut else other).frame(t) for t in range(count)])
    landmarks = np.concatenate([shot.landmarks[:cut], other.landmarks[cut:]])
    return frames, landmarks, np.concatenate([performance.head[:cut], turned[cut:]])
