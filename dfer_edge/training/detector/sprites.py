"""Heads cut out of renders: grey levels, coverage, 68 points and the face's outline, kept on disk as plain arrays.

A head is turned any way (a fifth of them to the full profile, some away from the camera: hair from behind is no face);
roll is left to whoever pastes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dfer_edge.errors import SourceNotFound
from dfer_edge.synthesis import CLASSES, FaceRenderer, load_face_model
from dfer_edge.synthesis.animation import perform
from dfer_edge.synthesis.annotation import annotate
from dfer_edge.synthesis.creases import gains
from dfer_edge.synthesis.person import Person
from dfer_edge.synthesis.scene import draw_light, project, rotations, to_pixels
from dfer_edge.synthesis.sensor import develop, draw_film, exposure

# Side of a sprite in pixels, its width in cm at the distance of the head, and where the middle of the face lies.
SIZE, WIDTH_CM, MIDDLE = 272, 38.0, (0.5, 0.42)
# A face looks away from here on: neither eye is seen.
AWAY_RAD = 1.9
# The forehead above the brows, in heights from chin to brows: median of YuNet's boxes on such renders.
_FOREHEAD = 0.42
_PER_PERSON = 5
OUTLINE = 73


@dataclass(frozen=True)
class Sprites:
    """Heads.

    Attributes
    ----------
    grey, cover
        uint8 [N, S, S]: grey levels times coverage, and coverage.
    points
        float32 [N, 73, 2] in pixels, centres at whole numbers: 68 landmarks and five points along the hairline.
    yaw
        float32 [N], rad.
    """

    grey: np.ndarray
    cover: np.ndarray
    points: np.ndarray
    yaw: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Sprites:
        """Map what :func:`render` wrote.

        Raises
        ------
        SourceNotFound
            There is no whole set.
        """
        if not (folder / "sprites.json").is_file():
            raise SourceNotFound(f"expected rendered heads in {folder}, found none", "--render N makes them")
        names = ("grey", "cover", "points", "yaw")
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names))

    def sized(self, index: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Grey levels and coverage of one head at a scale, float32 [S', S'] both."""
        size = max(8, round(SIZE * scale))
        layers = self.grey[index], self.cover[index]
        while layers[0].shape[0] >= 4 * size:  # the mean of four by four, of two by two: nothing is skipped
            half = layers[0].shape[0] // 2
            layers = (
                cv2.resize(layers[0], (half, half), interpolation=cv2.INTER_AREA),
                cv2.resize(layers[1], (half, half), interpolation=cv2.INTER_AREA),
            )
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        grey, cover = (cv2.resize(layer, (size, size), interpolation=how).astype(np.float32) for layer in layers)
        return grey, cover


def render(folder: Path, count: int, seed: int) -> None:
    """Render ``count`` heads into a folder; some 70 ms each."""
    folder.mkdir(parents=True, exist_ok=True)
    renderer = FaceRenderer(load_face_model())
    shapes = {"grey": (count, SIZE, SIZE), "cover": (count, SIZE, SIZE), "points": (count, OUTLINE, 2), "yaw": (count,)}
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.uint8 if name in ("grey", "cover") else np.float32, shape
        )
        for name, shape in shapes.items()
    }
    for index in range(count):
        if index % _PER_PERSON == 0:
            person = renderer.person(np.random.default_rng([seed, 0, index]))
        rng = np.random.default_rng([seed, 1, index])
        values = _sprite(renderer, rng, person)
        for array, value in zip(arrays.values(), values, strict=True):
            array[index] = value
    for array in arrays.values():
        array.flush()
    (folder / "sprites.json").write_text(json.dumps({"count": count, "seed": seed, "size": SIZE}))


def _head(rng: np.random.Generator) -> tuple[float, float, float]:
    """Yaw, pitch and a little roll, rad."""
    kind = rng.random()
    if kind < 0.62:
        yaw = rng.normal(0.0, 0.4)
    elif kind < 0.92:
        yaw = rng.uniform(-1.6, 1.6)
    else:
        yaw = rng.uniform(AWAY_RAD + 0.2, 2 * np.pi - AWAY_RAD - 0.2)
    return float(yaw), float(np.clip(rng.normal(0.0, 0.28), -0.8, 0.8)), float(rng.normal(0.0, 0.06))


def _sprite(
    renderer: FaceRenderer, rng: np.random.Generator, person: Person
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    label = int(rng.integers(len(CLASSES)))
    act = perform(rng, label, np.zeros(1), 0.0)
    head = np.array([_head(rng)], np.float32)
    weights, rotation = renderer.weights(act), rotations(head)
    distance = float(np.exp(rng.uniform(np.log(40.0), np.log(200.0))))
    marks = renderer.landmarks(person, weights)
    planes = annotate(project(marks, rotation, distance), rotation, renderer.outline.outward)
    planes = np.concatenate([planes, project(_hairline(marks), rotation, distance)], axis=1)
    # The axis of the head is the plane's origin: a profile is centred on the head, not on the nose.
    middle = planes[0, [27, 30, 33]].mean(axis=0) * (0.3, 1.0)
    scale = SIZE / WIDTH_CM
    row = [scale, 0.0, SIZE * MIDDLE[0] - scale * middle[0], 0.0, -scale, SIZE * MIDDLE[1] + scale * middle[1]]
    affine = np.array([row], np.float32)
    linear = renderer.frame(
        person,
        draw_light(rng),
        size=SIZE,
        weights=weights[0],
        folds=gains(act.units, person.fold_depth, person.engraved)[0],
        rotation=rotation[0],
        affine=affine[0],
        distance_cm=distance,
        gaze=act.gaze[0],
    )
    grey, cover = _developed(rng, linear, person)
    return grey, cover, to_pixels(planes, affine)[0], float(head[0, 0])


def _hairline(marks: np.ndarray) -> np.ndarray:
    """Five points above the brows, head space [1, 5, 3]; the forehead bends back."""
    face = marks[:, :68]
    brows = face[:, [17, 19, 21, 22, 24, 26]]
    brows = np.stack([brows[:, 0], brows[:, 1], brows[:, 2:4].mean(1), brows[:, 4], brows[:, 5]], axis=1)
    rise = _FOREHEAD * float(brows[0, 2, 1] - face[0, 8, 1]) * np.array([0.55, 0.9, 1.0, 0.9, 0.55])
    up = np.zeros_like(brows)
    up[..., 1] = rise
    up[..., 2] = -0.35 * rise
    return np.asarray(brows + up)


def _developed(rng: np.random.Generator, linear: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray]:
    film = draw_film(rng)
    factor = exposure(film, linear, float(person.look.skin.mean()))
    image = develop(film, linear, np.zeros((*linear.shape[:2], 3), np.float32), None, factor)
    # Cameras weigh colours differently, and some see infrared.
    weights = np.array([0.299, 0.587, 0.114]) if rng.random() < 0.6 else rng.dirichlet((2.0, 3.0, 1.5))
    grey = cv2.transform(image, weights[None].astype(np.float32))
    cover = np.clip(linear[..., 3] * 255.0, 0, 255)
    return np.clip(grey * 255.0 + 0.5, 0, 255).astype(np.uint8), (cover + 0.5).astype(np.uint8)
