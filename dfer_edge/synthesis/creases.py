"""Wrinkles as relief: where the skin folds when a unit contracts, and what age leaves there for good."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.synthesis.action_units import AU_INDEX
from dfer_edge.synthesis.atlas import HEIGHT, WIDTH, Atlas, blank, fixed, smoothing, stroke
from dfer_edge.synthesis.native import NATIVE

LEFT, RIGHT, BOTH = 0, 1, 2

# Group -> (side, gains by unit, share that age engraves). Sides are the subject's.
_PAIRED: dict[str, tuple[dict[int, float], float]] = {
    "forehead inner": ({1: 1.0, 2: 0.2}, 0.5),
    "forehead outer": ({2: 1.0}, 0.4),
    "glabella": ({4: 1.15}, 0.3),
    "nasolabial": ({12: 0.8, 10: 0.7, 9: 0.8, 6: 0.3, 20: 0.3}, 0.8),
    "crow's feet": ({6: 1.0, 12: 0.15}, 0.5),
    "lower lid": ({6: 0.6, 7: 0.6, 12: 0.2}, 0.7),
    "mouth corner": ({15: 0.8, 24: 0.2}, 0.5),
    "dimple": ({14: 0.8, 12: 0.5, 20: 0.5}, 0.2),
}
_SINGLE: dict[str, tuple[dict[int, float], float]] = {
    "nose root": ({9: 0.9, 4: 0.15}, 0.1),
    "chin": ({17: 1.0, 15: 0.3, 24: 0.2}, 0.1),
}
GROUPS: tuple[tuple[str, int], ...] = tuple((name, side) for name in _PAIRED for side in (LEFT, RIGHT)) + tuple(
    (name, BOTH) for name in _SINGLE
)
_TABLE = _PAIRED | _SINGLE
_MARGIN = 11  # texels round the drawn lines: three sigma of the widest blur


@dataclass(frozen=True)
class Creases:
    """Relief patches of one person.

    Attributes
    ----------
    boxes
        int32 [P, 4]: x, y, width, height in texels.
    data
        int16, flat: of each patch [height, width, 4] x slope, y slope, cavity, 0; 8191 is 1.
    """

    boxes: np.ndarray
    data: np.ndarray


def gains(units: np.ndarray, depth: float, engraved: float) -> np.ndarray:
    """How deep each group is.

    Parameters
    ----------
    units
        float [T, n_AU, 2].
    depth
        This person's skin: 0.25 smooth to 1.4.
    engraved
        What age has left, 0 to 1.

    Returns
    -------
    float32 [T, P]
    """
    out = np.empty((len(units), len(GROUPS)), np.float32)
    for column, (name, side) in enumerate(GROUPS):
        by_unit, static = _TABLE[name]
        level = np.zeros(len(units))
        for unit, gain in by_unit.items():
            sides = units[:, AU_INDEX[unit]]
            level += gain * (sides.mean(axis=1) if side == BOTH else sides[:, side])
        out[:, column] = level * depth + static * engraved
    return np.clip(out, 0.0, 1.9)


Line = tuple[np.ndarray | list[tuple[float, float]], float, float]

# Folds that are one line: points and range of thickness.
_SINGLE_LINES: dict[str, tuple[list[tuple[float, float]], float, float]] = {
    "nasolabial": ([(1.55, 0.3), (2.2, -0.5), (2.75, -1.6), (3.15, -2.8), (3.3, -3.7)], 1.8, 3.0),
    "mouth corner": ([(2.6, -3.5), (2.95, -4.2), (3.0, -5.2)], 1.5, 2.4),
    "dimple": ([(3.0, -2.7), (3.35, -3.4), (3.2, -4.3)], 1.5, 2.4),
}


def _lines(rng: np.random.Generator, name: str) -> list[Line]:
    """Polylines in cm on the subject's left, with thickness in texels and strength."""
    if name in _SINGLE_LINES:
        points, thin, thick = _SINGLE_LINES[name]
        return [(points, rng.uniform(thin, thick), 1.0)]
    if name.startswith("forehead"):
        return _forehead(rng, *((-0.1, 2.6) if name.endswith("inner") else (2.0, 5.6)))
    return {"glabella": _glabella, "crow's feet": _crows_feet, "lower lid": _lower_lid, "nose root": _nose_root}[name](
        rng
    )


def _forehead(rng: np.random.Generator, inner: float, outer: float) -> list[Line]:
    phase, x = rng.uniform(0, 6), np.linspace(inner, outer, 6)
    waves = 0.15 * np.sin(1.3 * x + phase) + 0.25 * np.exp(-(((x - 3) / 2) ** 2))
    rows = np.arange(7.3, 10.6, rng.uniform(0.65, 1.1))
    return [(np.stack([x, y + waves], axis=1), rng.uniform(1, 2), rng.uniform(0.5, 1)) for y in rows]


def _glabella(rng: np.random.Generator) -> list[Line]:
    columns = [0.75] if rng.random() < 0.5 else [0.55, 1.15]
    lines: list[Line] = [
        ([(x - 0.1, 4.7), (x, 5.5), (x + 0.15, 6.4), (x + 0.3, 7.1)], rng.uniform(1.2, 2.4), 1.0) for x in columns
    ]
    if rng.random() < 0.5:
        lines.append(([(1.4, 7.0), (2.2, 7.3), (3.2, 7.4)], 1.5, 0.5))
    return lines


def _crows_feet(rng: np.random.Generator) -> list[Line]:
    fan = rng.uniform(-0.7, 0.5, size=int(rng.integers(2, 5)))
    return [
        ([(5.0, 3.2 + 0.4 * a), (5.6, 3.2 + 0.9 * a), (6.3, 3.15 + 1.5 * a)], rng.uniform(1, 1.6), rng.uniform(0.5, 1))
        for a in fan
    ]


def _lower_lid(rng: np.random.Generator) -> list[Line]:
    lines: list[Line] = [([(1.7, 2.7), (2.5, 2.25), (3.4, 2.2), (4.3, 2.6)], rng.uniform(1.2, 2), 1.0)]
    if rng.random() < 0.6:
        lines.append(([(1.7, 2.3), (2.4, 1.6), (3.4, 1.35), (4.4, 1.8)], rng.uniform(1.5, 2.4), 0.7))
    return lines


def _nose_root(rng: np.random.Generator) -> list[Line]:
    x = np.linspace(-0.9, 0.9, 5)
    lines: list[Line] = [
        (np.stack([x, y - 0.12 * np.abs(x)], axis=1), rng.uniform(1, 1.8), rng.uniform(0.6, 1)) for y in (3.3, 4.0, 4.6)
    ]
    for side in (1, -1):  # down the sides of the nose
        for k in range(3):
            start = (side * (0.6 + 0.25 * k), 3.2 - 0.2 * k)
            middle, end = (side * (1.2 + 0.2 * k), 2.4 - 0.3 * k), (side * (1.5 + 0.2 * k), 1.8 - 0.3 * k)
            lines.append(([start, middle, end], 1.3, rng.uniform(0.4, 0.9)))
    return lines


def _points(rng: np.random.Generator, lines: list[Line], side: int) -> np.ndarray:
    """All points of a group's lines, one after the other and each a little off, on the group's side; cm [N, 2]."""
    every = np.concatenate([points for points, _, _ in lines])
    return (every + rng.normal(0.0, 0.06, every.shape)) * (-1.0 if side == RIGHT else 1.0, 1.0)


def _curves(texels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Smooth lines through the next ``counts[n]`` texels each; float [N, 24, 2]."""
    first = np.cumsum(counts) - counts
    curves = np.empty((len(counts), 24, 2))
    for count in set(counts.tolist()):
        which = np.flatnonzero(counts == count)
        curves[which] = smoothing(count, 24) @ texels[first[which][:, None] + np.arange(count)]
    return curves


def _fold(lines: list[Line], curves: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Relief int16 [*shape, 4] of a group of folds along fixed-point curves: a sharp valley between two soft ridges."""
    drawn, layer = np.zeros(shape, np.float32), np.empty(shape, np.float32)
    for curve, (_, thickness, strength) in zip(curves, lines, strict=True):
        layer.fill(0.0)
        for cut, share in ((0, 0.35), (2, 0.7), (5, 1.0)):  # a fold runs out at its ends
            stroke(layer, curve[cut : len(curve) - cut], thickness, value=share * strength)
        np.maximum(drawn, layer, out=drawn)
    return NATIVE.fold(drawn)


def _dents(rng: np.random.Generator, atlas: Atlas) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """The orange-peel skin of a raised chin."""
    u, v = atlas.at(np.array([[0.0, -6.2]]))[0].astype(int)
    width, height = 72, 56
    low = max(0, u - width // 2), max(0, v - height // 2)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 1.3)
    fade_x = np.exp(-(((np.arange(width) - width / 2) / 16) ** 2))
    fade_y = np.exp(-(((np.arange(height) - height / 2) / 12) ** 2))
    dents = np.clip(noise * 2.0, -1.0, 1.0) * np.outer(fade_y, fade_x).astype(np.float32)
    return (low[0], low[1], width, height), _with_cavities(dents)


def _with_cavities(heights: np.ndarray) -> np.ndarray:
    """Relief whose valleys are darker; float32 [H, W] to int16 [H, W, 4]."""
    cavity = heights * np.float32(-0.3)
    return NATIVE.slopes(heights, np.clip(cavity, 0.0, 0.3, out=cavity))


def make_creases(rng: np.random.Generator, atlas: Atlas) -> Creases:
    """Draw one person's folds, in the order of :data:`GROUPS`."""
    groups, points = [], []
    for name, side in GROUPS[:-1]:
        groups.append(_lines(rng, name))
        points.append(_points(rng, groups[-1], side))
    # What numpy takes is much the same for six points and for two hundred, so all groups are placed at once.
    texels, first = atlas.at(np.concatenate(points)), np.cumsum([0, *(len(part) for part in points[:-1])])
    low = np.maximum(np.floor(np.minimum.reduceat(texels, first)).astype(int) - _MARGIN, 0)
    high = np.minimum(np.ceil(np.maximum.reduceat(texels, first)).astype(int) + _MARGIN, (WIDTH, HEIGHT))
    curves = _curves(texels, np.array([len(line[0]) for lines in groups for line in lines]))
    ends = np.cumsum([len(lines) for lines in groups])
    reliefs = []
    for lines, end, corner, (width, height) in zip(groups, ends, low, (high - low).tolist(), strict=True):
        reliefs.append(_fold(lines, fixed(curves[end - len(lines) : end] - corner), (height, width)))
    chin, dents = _dents(rng, atlas)  # the last of GROUPS
    return Creases(
        boxes=np.concatenate([np.concatenate([low, high - low], axis=1), [chin]], dtype=np.int32, casting="unsafe"),
        data=np.concatenate([relief.ravel() for relief in (*reliefs, dents)]),
    )


def pores(rng: np.random.Generator, atlas: Atlas, strength: float) -> np.ndarray:
    """Relief of skin at rest; int16 [HEIGHT, WIDTH, 4]."""
    height = blank()
    atlas.add_noise(rng, height, 0.2 * strength, 1.0)
    atlas.add_noise(rng, height, 0.4 * strength, 4.0)
    return _with_cavities(height)
