"""Plates and balls in front of the renderer's camera, for pictures that are known beforehand."""

from __future__ import annotations

import numpy as np

from dfer_edge.synthesis.face_model import ACCESSORY, CLOTH, LEFT_EYE, RIGHT_EYE
from dfer_edge.synthesis.native import NATIVE

MATTE = np.tile(np.float32([0, 10, 0, 0]), (12, 1))


def plate(
    x: tuple[float, float],
    y: tuple[float, float],
    z: float,
    colour=(0.5, 0.5, 0.5),
    material: int = CLOTH,
    flip: bool = False,
):
    """A rectangle that faces the camera: vertices, triangles, colour, material."""
    vertices = np.float32([[x[0], y[0], z], [x[1], y[0], z], [x[1], y[1], z], [x[0], y[1], z]])
    triangles = np.int32([[0, 1, 2], [0, 2, 3]])
    return vertices, triangles[:, ::-1] if flip else triangles, colour, material


def person(*meshes, eyes=(0, 0, 0, 0)):
    starts = np.cumsum([0, *(len(mesh[0]) for mesh in meshes)])
    vertices = np.concatenate([mesh[0] for mesh in meshes])
    colour = np.concatenate([np.tile(np.float32([*mesh[2], 1.0]), (len(mesh[0]), 1)) for mesh in meshes])
    texture = np.zeros((2, 2, 4), np.int16)
    return NATIVE.Person(
        vertices=vertices,
        triangles=np.concatenate([mesh[1] + start for mesh, start in zip(meshes, starts, strict=False)]),
        materials=np.concatenate([np.full(len(mesh[1]), mesh[3], np.uint8) for mesh in meshes]),
        uv=np.zeros((len(vertices), 2), np.float32),
        colour=colour,
        texture=texture,
        relief=texture,
        eyes=np.int32(eyes),
        patches=np.zeros((0, 4), np.int32),
        patch_data=np.zeros(0, np.int16),
    )


def render(
    scene, size: int = 33, key=(0, 0, 1), power: float = 1.0, ambient: float = 0.0, shadow: float = 0.0, **changes
):
    """A camera 100 cm away that sees 20 cm; one white lamp."""
    renderer = NATIVE.Renderer(np.int64([0]), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    scale = 2 * size / 20
    lights = np.zeros((3, 6), np.float32)
    lights[:, 2] = 1
    lights[0] = [*key, power, power, power]
    sky = np.zeros((9, 3), np.float32)
    sky[0] = ambient
    settings = {
        "size": size,
        "rotation": np.eye(3, dtype=np.float32),
        "centre": np.zeros(3, np.float32),
        "distance": 1e4,  # so far that the projection is parallel
        "affine": np.float32([scale, 0, size, 0, -scale, size]),
        "gaze": np.zeros(4, np.float32),
        "eye_radii": np.float32([0.6, 0.25]),
        "eye_colours": np.float32([0.8, 0.8, 0.8, 0.2, 0.1, 0.05, 0.5]),
        "lash_keep": 0,
        "seed": 0,
        "surfaces": MATTE,
        "skin": np.zeros(5, np.float32),
        "lights": lights,
        "ambient": sky,
        "shadow": np.float32([shadow, 0.5]),
        "occlusion": np.float32([0.35, 0, 1.2, 0, 0]),
    }
    return renderer.render(scene, np.zeros(0, np.float32), np.zeros(0, np.float32), **(settings | changes))


def ball(centre, radius: float, material: int):
    """A ball of an eye, front half and more."""
    rows, columns = 24, 32
    down, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    points = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1).reshape(
        -1, 3
    )
    index = np.arange(rows * columns).reshape(rows, columns)
    index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return np.float32(points * radius + centre), np.int32(triangles), (0.5, 0.5, 0.5), material


__all__ = ["ACCESSORY", "CLOTH", "LEFT_EYE", "MATTE", "RIGHT_EYE", "ball", "person", "plate", "render"]
