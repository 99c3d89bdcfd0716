"""Draws a person: identity, age, colours, hair or head cover, eyes, lashes, folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dfer_edge.synthesis import accessories
from dfer_edge.synthesis import face_model as parts
from dfer_edge.synthesis.annotation import Outline
from dfer_edge.synthesis.atlas import Atlas, blank, shifted
from dfer_edge.synthesis.creases import Creases, make_creases, pores
from dfer_edge.synthesis.face_model import FaceModel
from dfer_edge.synthesis.native import NATIVE
from dfer_edge.synthesis.painting import HAIR_COLOURS, HAIR_STYLES, SKIN_TONES, Look, paint

MATERIALS = 12  # rows of the renderer's table
_IRISES = np.array(
    [
        [0.05, 0.025, 0.012],
        [0.09, 0.045, 0.02],
        [0.02, 0.012, 0.01],
        [0.2, 0.11, 0.04],
        [0.16, 0.17, 0.08],
        [0.13, 0.22, 0.3],
        [0.2, 0.28, 0.33],
    ]
)
_STYLE_WEIGHTS = np.array([0.34, 0.18, 0.17, 0.07, 0.08, 0.09, 0.04, 0.03])
_THICKNESS_CM = {
    "short": (0.4, 1.6),
    "medium": (0.8, 2.4),
    "long": (0.6, 2.2),
    "receding": (0.2, 0.8),
    "buzz": (0.1, 0.2),
    "scarf": (0.4, 1.0),
    "cap": (0.5, 1.1),
}


@dataclass(frozen=True)
class Person:
    """One person, ready to be rendered.

    Attributes
    ----------
    bound
        Mesh, textures and folds in the native renderer.
    landmarks
        float32 [68 + 17 * M, 3]: at rest, head space, cm; those of the brows where they are painted; then the places
        that jaw points may take (:class:`~dfer_edge.synthesis.annotation.Outline`).
    look
        Age, colours and style.
    eye_radii, eye_colours
        What :meth:`Renderer.render` takes.
    surfaces
        float32 [12, 4]: specular, shininess, wrap and two-sidedness of each material.
    lash_keep
        Lashes drawn, of 256.
    fold_depth, engraved
        How deep folds are when they form and at rest.
    """

    bound: Any
    landmarks: np.ndarray
    look: Look
    eye_radii: np.ndarray
    eye_colours: np.ndarray
    surfaces: np.ndarray
    lash_keep: int
    fold_depth: float
    engraved: float


def _draw_look(rng: np.random.Generator) -> Look:
    age, male = float(rng.beta(1.3, 1.8)), bool(rng.random() < 0.55)
    tone = 7.0 * rng.beta(1.0, 1.5)
    skin = np.array([np.interp(tone, np.arange(8), SKIN_TONES[:, k]) for k in range(3)])
    skin = skin * np.exp(rng.normal(0.0, 0.05, 3)) * np.exp(rng.normal(0.0, 0.12))
    common = rng.random() < (0.9 if tone > 3 else 0.6)
    hair = HAIR_COLOURS[rng.integers(4 if common else len(HAIR_COLOURS))] * np.exp(rng.normal(0.0, 0.15, 3))
    if age > 0.6 and rng.random() < 0.6:
        hair = HAIR_COLOURS[rng.integers(6, 8)] * rng.uniform(0.6, 1.1)
    if rng.random() < 0.04:
        hair = rng.uniform(0.05, 0.6, 3)
    style = str(rng.choice(HAIR_STYLES, p=_STYLE_WEIGHTS))
    cloth = rng.uniform(0.02, 0.7) * np.clip(np.exp(rng.normal(0.0, 0.6, 3)), 0.2, 3.0)
    return Look(age, male, skin.astype(np.float32), hair, style, np.clip(cloth, 0.01, 0.9))


def _thicken(
    rng: np.random.Generator, model: FaceModel, atlas: Atlas, vertices: np.ndarray, mask: np.ndarray, style: str
) -> None:
    """Push the scalp out along its normals where hair or cloth covers it."""
    if style not in _THICKNESS_CM:
        return
    column, row = atlas.texel.T
    cover = np.where(atlas.behind, 1.0, mask[row, column])
    if style not in ("long", "scarf"):
        cover = np.where(atlas.ears, 0.0, cover)
    low, high = _THICKNESS_CM[style]
    grown = np.flatnonzero(cover > 1e-6)
    moved, column, row = atlas.skin[grown], column[grown], row[grown]
    height = cover[grown] * np.clip((model.neutral[moved, 1] - 4.0) / 7.0, 0.35, 1.0)
    if style not in ("scarf", "cap"):
        lumps = blank()
        atlas.add_cloud(rng, lumps, 0.45, 14)
        height *= 1 + lumps[row, column]
    normals = NATIVE.vertex_normals(vertices, atlas.skin_triangles)
    vertices[moved] += normals[moved] * (height * rng.uniform(low, high)).astype(np.float32)[:, None]


def _colours(rng: np.random.Generator, model: FaceModel, look: Look) -> np.ndarray:
    """Colour of vertices without texture, and openness; float32 [V, 4]."""
    colour = np.zeros((len(model.neutral), 4), np.float32)
    gum = np.array([0.35, 0.10, 0.09]) * rng.uniform(0.5, 1.2)
    teeth = np.array([0.78, 0.72, 0.62]) * rng.uniform(0.65, 1.1) * (1.0 - 0.2 * look.age)
    by_material = {
        parts.GUM: gum,
        parts.TEETH: teeth,
        parts.SOCKET: gum * 0.5,
        parts.LASH: np.minimum(look.hair * 0.2, 0.03),
    }
    for material, value in by_material.items():
        colour[model.vertices_of(material), :3] = value
    colour[:, 3] = model.openness
    return colour


def _surfaces(rng: np.random.Generator, look: Look) -> np.ndarray:
    table = np.zeros((MATERIALS, 4), np.float32)
    # On dark skin the same gloss stands out more.
    gloss = rng.uniform(0.01, 0.12) * (0.45 + 0.55 * min(1.0, float(look.skin.mean()) / 0.3))
    table[parts.SKIN] = (gloss, rng.uniform(8, 36), 1.0, 0.0)
    table[[parts.LEFT_EYE, parts.RIGHT_EYE]] = (rng.uniform(0.15, 0.8), 90.0, 0.6, 0.0)
    table[parts.LASH] = (0.0, 10.0, 0.3, 1.0)
    table[parts.GUM] = (0.12, 30.0, 0.8, 0.0)
    table[parts.TEETH] = (0.18, 40.0, 0.6, 0.0)
    table[parts.SOCKET] = (0.05, 20.0, 0.5, 0.0)
    table[parts.ACCESSORY] = (0.3, 30.0, 0.0, 1.0)
    table[parts.CLOTH] = (0.02, 8.0, 0.2, 1.0)
    return table


def _worn(rng: np.random.Generator, look: Look, landmarks: np.ndarray) -> list[accessories.Mesh]:
    meshes = []
    if rng.random() < 0.9:
        cloth = rng.uniform(0.01, 0.6) * np.clip(np.exp(rng.normal(0.0, 0.35, 3)), 0.3, 2.0)
        meshes.append(accessories.shoulders(rng, np.clip(cloth, 0.005, 0.8)))
    lengths = {"long": (0.85, -20.0, -9.0), "medium": (0.5, -9.0, -4.0)}
    if look.style in lengths:
        probability, low, high = lengths[look.style]
        if rng.random() < probability:
            meshes.append(accessories.long_hair(rng, look.hair, rng.uniform(low, high)))
    if rng.random() < 0.15 + 0.1 * look.age:
        meshes += accessories.glasses(rng, landmarks)
    return meshes


def _dressed(
    rng: np.random.Generator, model: FaceModel, atlas: Atlas, look: Look, vertices: np.ndarray
) -> dict[str, np.ndarray]:
    """The mesh with what is worn: vertices, triangles, materials, uv and colour."""
    meshes = _worn(rng, look, vertices[model.landmarks])
    starts = np.cumsum([len(vertices), *(len(mesh.vertices) for mesh in meshes)])
    colour = _colours(rng, model, look)
    worn = [np.concatenate([mesh.colour, np.ones((len(mesh.colour), 1))], axis=1) for mesh in meshes]
    extra = int(starts[-1]) - len(vertices)
    return {
        "vertices": np.concatenate([vertices, *(mesh.vertices for mesh in meshes)], dtype=np.float32),
        "triangles": np.concatenate(
            [model.triangles, *(mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False))],
            dtype=np.int32,
        ),
        "materials": np.concatenate(
            [model.materials, *(np.full(len(mesh.triangles), mesh.material, np.uint8) for mesh in meshes)]
        ),
        "uv": np.concatenate([atlas.uv, np.zeros((extra, 2), np.float32)]),
        "colour": np.concatenate([colour, *worn], dtype=np.float32),
    }


def draw_person(rng: np.random.Generator, model: FaceModel, atlas: Atlas, outline: Outline) -> Person:
    """Draw a person and hand their mesh and maps to the native renderer."""
    look = _draw_look(rng)
    modes = rng.normal(0.0, rng.uniform(0.6, 1.05), len(model.identity)).astype(np.float32)
    vertices = model.neutral + (modes @ model.identity).reshape(-1, 3)
    texture, cover, brow_shift = paint(rng, atlas, look)
    landmarks = vertices[outline.vertices]
    landmarks[17:27] = shifted(landmarks[17:27], brow_shift)
    _thicken(rng, model, atlas, vertices, cover, look.style)
    creases: Creases = make_creases(rng, atlas)
    fair = look.skin[0] > 0.3
    iris = _IRISES[rng.integers(len(_IRISES)) if fair else rng.integers(3)] * np.exp(rng.normal(0.0, 0.25))
    sclera = np.array([0.66, 0.61, 0.57]) * rng.uniform(0.45, 0.95)
    bound = NATIVE.Person(
        **_dressed(rng, model, atlas, look, vertices),
        texture=texture,
        relief=pores(rng, atlas, 0.03 + 0.1 * look.age),
        eyes=model.eyes,
        patches=creases.boxes,
        patch_data=creases.data,
    )
    return Person(
        bound=bound,
        landmarks=landmarks,
        look=look,
        eye_radii=np.array([rng.uniform(0.52, 0.66), rng.uniform(0.16, 0.32)], np.float32),
        eye_colours=np.array([*sclera, *iris, rng.uniform(0.2, 0.75)], np.float32),
        surfaces=_surfaces(rng, look),
        lash_keep=int(255 * rng.uniform(0.04, 0.35 if look.male else 0.65)),
        fold_depth=float(rng.uniform(0.1, 1.3)),
        engraved=float(look.age**1.5 * rng.uniform(0.1, 0.9)),
    )
