"""A face model of the right topology and no beauty: an egg with eyes, landmarks and bumps for shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfer_edge.synthesis.action_units import SHAPES
from dfer_edge.synthesis.recipes import SHIFTS

VERTICES = 26719
_ROWS, _COLUMNS = 94, 118  # 11092 of the 11248 vertices of the head
_RADII = np.array([8.0, 12.0, 9.0])
_SIDED = ("mouthFunnel", "mouthPucker", "jawOpen", "mouthRoll", "mouthShrugLower")

# Right half of the 68 points by (x, y); the rest mirrors or lies between.
_JAW = [
    (-7.4, 3.7),
    (-7.3, 1.8),
    (-7.1, 0.0),
    (-6.8, -2.0),
    (-6.2, -3.8),
    (-5.0, -5.4),
    (-3.5, -6.6),
    (-1.7, -7.4),
    (0.0, -7.6),
]
_BROW = [(-5.8, 5.2), (-4.8, 6.0), (-3.6, 6.2), (-2.4, 6.1), (-1.2, 5.9)]
_NOSE = [
    (0.0, 3.7),
    (0.0, 2.6),
    (0.0, 1.5),
    (0.0, 0.4),
    (-1.2, -1.0),
    (-0.6, -1.1),
    (0.0, -1.2),
    (0.6, -1.1),
    (1.2, -1.0),
]
_EYE = [(-4.5, 3.4), (-3.6, 3.9), (-2.6, 3.9), (-1.8, 3.3), (-2.6, 2.9), (-3.6, 2.9)]
_LIPS = [
    (-2.5, -3.5),
    (-1.7, -2.9),
    (-0.7, -2.5),
    (0.0, -2.6),
    (0.7, -2.5),
    (1.7, -2.9),
    (2.5, -3.5),
    (1.7, -4.1),
    (0.7, -4.4),
    (0.0, -4.5),
    (-0.7, -4.4),
    (-1.7, -4.1),
]
_INNER = [(-2.2, -3.5), (-1.0, -3.3), (0.0, -3.3), (1.0, -3.3), (2.2, -3.5), (1.0, -3.5), (0.0, -3.6), (-1.0, -3.5)]


def _points() -> np.ndarray:
    mirrored = [(-x, y) for x, y in _EYE]
    left_eye = [mirrored[k] for k in (3, 2, 1, 0, 5, 4)]
    jaw = _JAW + [(-x, y) for x, y in _JAW[-2::-1]]
    brows = _BROW + [(-x, y) for x, y in _BROW[::-1]]
    return np.array(jaw + brows + _NOSE + _EYE + left_eye + _LIPS + _INNER)


def _egg() -> tuple[np.ndarray, np.ndarray]:
    down, around = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, _ROWS), np.linspace(0, 2 * np.pi, _COLUMNS, endpoint=False), indexing="ij"
    )
    surface = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1)
    index = np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS)
    index = np.concatenate([index, index[:, :1]], axis=1)
    # Rows go down and columns to the subject's left: this order is counter-clockwise from outside.
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
    return surface.reshape(-1, 3) * _RADII, quads


def _ball(centre: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = 22, 35
    down, around = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    ball = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], axis=-1)
    index = first + np.arange(rows * columns).reshape(rows, columns)
    index = np.concatenate([index, index[:, :1]], axis=1)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1).reshape(-1, 4)
    return ball.reshape(-1, 3) * 1.45 + centre, quads


def arrays() -> dict[str, np.ndarray]:
    """What the .npz of the face model holds."""
    neutral = np.zeros((VERTICES, 3), np.float32)
    head, quads = _egg()
    neutral[: len(head)] = head
    polygons, materials = [quads], [np.zeros(len(quads), np.int8)]
    for number, (first, x) in enumerate(((21451, 3.1), (23021, -3.1))):
        ball, faces = _ball(np.array([x, 3.4, 8.0 + 0.3]), first)
        neutral[first : first + len(ball)] = ball
        polygons.append(faces)
        materials.append(np.full(len(faces), 1 + number, np.int8))
    front = np.flatnonzero(head[:, 2] > 0)
    landmarks = [front[np.argmin(((head[front, :2] - point) ** 2).sum(axis=1))] for point in _points()]
    names = sorted({shape for parts in SHAPES.values() for shape, _ in parts})
    names = [
        full for name in names for full in ([name] if name.startswith(_SIDED) else [f"{name}_L", f"{name}_R"])
    ] + list(SHIFTS)
    rng = np.random.default_rng(5)
    expression = np.zeros((len(names), VERTICES, 3), np.float16)
    for row, name in zip(expression, names, strict=True):
        x = {"L": 2.5, "R": -2.5}.get(name[-1], 0.0)
        bump = np.exp(-((head[:, :2] - (x, rng.uniform(-4, 6))) ** 2).sum(axis=1) / 4) * (head[:, 2] > 0)
        row[: len(head)] = bump[:, None] * rng.normal(0, 0.5, 3)
    identity = np.zeros((3, VERTICES, 3), np.float16)
    identity[:, : len(head)] = head * rng.normal(0, 0.03, (3, 1, 3))
    return {
        "neutral": neutral,
        "identity": identity,
        "expression": expression,
        "expression_names": np.array(names),
        "faces": np.concatenate(polygons).astype(np.int32),
        "face_material": np.concatenate(materials),
        "material_names": np.array(["M_Face", "M_ScleraLeft", "M_ScleraRight"]),
        "landmarks68": np.array(landmarks, np.int32),
    }


def write(path: Path) -> Path:
    np.savez(path, **arrays())
    return path
