"""Things on and round a head, as small meshes: glasses, long hair, shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfer_edge.synthesis.face_model import ACCESSORY, CLOTH


@dataclass(frozen=True)
class Mesh:
    """Vertices float32 [V, 3] (head space, cm), triangles int32 [F, 3], linear RGB [V, 3], material number."""

    vertices: np.ndarray
    triangles: np.ndarray
    colour: np.ndarray
    material: int


def _grid(rows: int, columns: int, closed: bool) -> np.ndarray:
    """Triangles of a grid of vertices; ``closed`` joins the last column to the first."""
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _tube(line: np.ndarray, radius: float, closed: bool, sides: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A tube along a polyline [N, 3]."""
    ahead = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    if not closed:
        ahead[0], ahead[-1] = line[1] - line[0], line[-1] - line[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
    helper = np.where(np.abs(ahead[:, 2:]) > 0.8, (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    across = np.cross(ahead, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    up = np.cross(across, ahead)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[:, None, None] * across + np.sin(turn)[:, None, None] * up
    vertices = (line + radius * ring).reshape(-1, 3)  # [sides, N]
    index = np.arange(len(vertices)).reshape(sides, len(line))
    index = np.concatenate([index, index[:1]])
    if closed:
        index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return vertices, np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _join(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    triangles = np.concatenate([triangles + offset for (_, triangles), offset in zip(pieces, offsets, strict=False)])
    return vertices, triangles


def glasses(rng: np.random.Generator, landmarks: np.ndarray) -> list[Mesh]:
    """Rims, bridge and temples in front of the eyes; at times dark lenses.

    Parameters
    ----------
    landmarks
        float [68, 3]: the person's at rest.
    """
    left, right = landmarks[42:48].mean(axis=0), landmarks[36:42].mean(axis=0)
    apart = float(left[0] - right[0])
    width, roundness = apart * rng.uniform(0.33, 0.42), rng.uniform(2.0, 5.0)
    height = width * rng.uniform(0.68, 1.0)
    # Clear of the brows, which come forward when they are drawn down.
    drop, front = rng.uniform(0.0, 0.5), float(landmarks[17:27, 2].max()) + rng.uniform(0.3, 0.8)
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    # A superellipse: from round to nearly square.
    shape = np.stack([np.sign(f(turn)) * np.abs(f(turn)) ** (2 / roundness) for f in (np.cos, np.sin)], axis=1)
    thickness = rng.uniform(0.06, 0.22)
    frame, lenses = [], []
    for eye in (left, right):
        rim = np.empty((28, 3))
        rim[:, 0] = eye[0] + shape[:, 0] * width
        rim[:, 1] = eye[1] - drop + shape[:, 1] * height
        rim[:, 2] = front - 0.035 * rim[:, 0] ** 2
        frame.append(_tube(rim, thickness, closed=True))
        middle = rim.mean(axis=0)
        fan = np.stack([np.full(28, 28), np.arange(28), np.roll(np.arange(28), -1)], axis=1)
        lenses.append((np.concatenate([rim, middle[None]]), fan))
    inner = apart / 2 - width
    level = float(left[1] - drop + 0.25 * height)
    bridge = [(x, level + 0.25 * np.cos(x), front + 0.15 - 0.1 * x * x) for x in np.linspace(-inner, inner, 5)]
    frame.append(_tube(np.array(bridge), thickness * 0.9, closed=False))
    for eye, sign in ((left, 1.0), (right, -1.0)):
        outer = eye[0] + sign * width
        ear = np.array([sign * max(abs(landmarks[16, 0]), abs(outer) + 0.8), level - 0.2, 1.0])
        start = np.array([outer, level, front - 0.035 * outer**2])
        frame.append(_tube(start + np.linspace(0, 1, 5)[:, None] * (ear - start), thickness, closed=False))
    vertices, triangles = _join(frame)
    colour = rng.uniform(0.005, 0.06, 3) if rng.random() < 0.7 else rng.uniform(0.05, 0.6, 3)
    meshes = [Mesh(vertices, triangles, np.tile(colour, (len(vertices), 1)), ACCESSORY)]
    if rng.random() < 0.1:
        vertices, triangles = _join(lenses)
        meshes.append(Mesh(vertices, triangles, np.full((len(vertices), 3), 0.012), ACCESSORY))
    return meshes


def long_hair(rng: np.random.Generator, colour: np.ndarray, bottom_cm: float) -> Mesh:
    """A curtain round the sides and the back of the head."""
    rows, columns = 10, 56
    start = rng.uniform(1.1, 1.6)
    angle = np.linspace(start, 2 * np.pi - start, columns)
    level = np.linspace(rng.uniform(5.0, 7.5), bottom_cm, rows)[:, None]
    wave = rng.uniform(0.0, 0.5) * np.sin(level * rng.uniform(0.5, 1.2) + 5 * angle)
    fullness = rng.uniform(0.3, 2.0) * np.sin(np.linspace(0.25, np.pi * rng.uniform(0.6, 0.95), rows))[:, None]
    ragged = rng.normal(0.0, 0.18, (rows, columns)) + rng.normal(0.0, 0.2, columns)
    radius_x, radius_z = 8.7 + fullness + wave + ragged, 10.0 + fullness + wave + ragged
    vertices = np.stack([radius_x * np.sin(angle), level + 0 * angle, -1.0 + radius_z * np.cos(angle)], axis=-1)
    shade = np.exp(rng.normal(0.0, 0.3, columns) + rng.normal(0.0, 0.12, (rows, columns)))
    return Mesh(
        vertices.reshape(-1, 3),
        _grid(rows, columns, closed=False),
        (shade[..., None] * colour).reshape(-1, 3),
        ACCESSORY,
    )


def shoulders(rng: np.random.Generator, colour: np.ndarray) -> Mesh:
    """Cloth from the neck down."""
    columns = 40
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    collar = rng.uniform(-14.5, -11.5)
    #          y,          half width, half depth, z of the centre
    rings = np.array(
        [
            [collar, rng.uniform(6.2, 7.4), 6.4, -1.0],
            [collar - 1.2, 8.0, 7.4, -1.4],
            [-16.5, 13.5, 9.0, -2.0],
            [-19.0, 19.5, 10.0, -2.5],
            [-26.0, 22.0, 11.5, -2.5],
            [-40.0, 22.0, 12.0, -2.5],
        ]
    )
    y, half_width, half_depth, z = (rings[:, k, None] for k in range(4))
    vee = rng.uniform(0.0, 2.0) * np.clip(np.cos(angle), 0, 1) ** 4 * np.exp(-np.arange(len(rings)))[:, None]
    vertices = np.stack([half_width * np.sin(angle), y - vee + 0 * angle, z + half_depth * np.cos(angle)], axis=-1)
    folds = np.exp(rng.normal(0.0, 0.12, (len(rings), columns)))[..., None]
    return Mesh(
        vertices.reshape(-1, 3), _grid(len(rings), columns, closed=True), (folds * colour).reshape(-1, 3), CLOTH
    )
