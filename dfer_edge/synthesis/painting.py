"""Paints one person's skin, lips, brows, beard and hair on the texture of :mod:`atlas`. Colours are linear RGB."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.synthesis.atlas import HEIGHT, TEXELS_PER_CM, WIDTH, Atlas, blank, fill, fixed, smoothed, stroke
from dfer_edge.synthesis.native import NATIVE

# From fair to dark; linear reflectance.
SKIN_TONES = (
    np.array(
        [
            [0.82, 0.60, 0.50],
            [0.78, 0.54, 0.43],
            [0.70, 0.46, 0.34],
            [0.58, 0.36, 0.25],
            [0.44, 0.26, 0.17],
            [0.30, 0.17, 0.11],
            [0.16, 0.09, 0.06],
            [0.09, 0.05, 0.035],
        ]
    )
    ** 1.15
)
# Black, dark brown, brown, light brown, blond, fair, grey, white, red.
HAIR_COLOURS = np.array(
    [
        [0.012, 0.010, 0.009],
        [0.03, 0.02, 0.014],
        [0.07, 0.04, 0.022],
        [0.16, 0.09, 0.04],
        [0.4, 0.27, 0.13],
        [0.6, 0.5, 0.35],
        [0.35, 0.34, 0.33],
        [0.65, 0.65, 0.65],
        [0.25, 0.07, 0.03],
    ]
)
# People who annotate the 68 points put those of the brow near its upper edge: share of half the thickness.
_ANNOTATED_EDGE = 0.8
HAIR_STYLES = ("short", "medium", "long", "bald", "receding", "buzz", "scarf", "cap")


@dataclass(frozen=True)
class Look:
    """What the painter needs to know of a person; age 0 to 1, colours linear RGB [3]."""

    age: float
    male: bool
    skin: np.ndarray
    hair: np.ndarray
    style: str
    cloth: np.ndarray


# Of R, G and B, for each of atlas.SPOTS: what a full flush adds, and what dark rings round the eyes take away.
_FLUSH_TINT = np.outer([0.5, -0.9, -0.7], [1.0, 1.0, 1.0, 0.5, 0.0, 0.0])
_RING_TINT = np.outer([0.6, 0.75, 0.7], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0])


def _skin(rng: np.random.Generator, atlas: Atlas, look: Look) -> np.ndarray:
    blotches = blank(1.0)
    atlas.add_cloud(rng, blotches, 0.05, 60)
    atlas.add_cloud(rng, blotches, rng.uniform(0.01, 0.05), 9)
    atlas.add_noise(rng, blotches, rng.uniform(0.0, 0.04))
    flush, dark = rng.uniform(0.0, 0.22), rng.uniform(0.0, 0.3 + 0.25 * look.age)
    return NATIVE.skin(blotches, *atlas.spots, flush * _FLUSH_TINT - dark * _RING_TINT, look.skin)


def _spots(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    if rng.random() > 0.3 + 0.3 * look.age:
        return
    low, high = (-7.0, -8.0, 0.4, 0.4), (7.0, 10.0, 0.8, 1.0)
    drawn = rng.uniform(low, high, (int(rng.integers(2, 40)), 4))
    at = (atlas.at(drawn[:, :2]) * 8).astype(int)
    for (u, v), shade, radius in zip(at.tolist(), drawn[:, 2], drawn[:, 3], strict=True):
        colour = (*(look.skin * shade).tolist(), 0.0)
        cv2.circle(texture, (u, v), int(8 * radius), colour, -1, cv2.LINE_AA, 3)


def _lips(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    colour = look.skin * (rng.uniform(0.75, 1.05), rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.8))
    if not look.male and rng.random() < 0.4:
        paint = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.02, 0.15), rng.uniform(0.04, 0.18)])
        colour = 0.5 * colour + 0.6 * paint
    rows, columns = atlas.lip_box
    part = texture[rows, columns, :3]
    alpha = atlas.lips[rows, columns, None] * np.float32(rng.uniform(0.6, 1.0))
    part += alpha * (colour.astype(np.float32) - part)


def _lid_edges(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    every = np.concatenate(atlas.eyes)
    low, high = every.min(axis=0).astype(int) - 8, every.max(axis=0).astype(int) + 9
    edge = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    for outline in atlas.eyes:
        stroke(edge, fixed(outline - low), 3, closed=True)
    strength = rng.uniform(0.1, 0.5 if look.male else 0.9)
    part = texture[low[1] : high[1], low[0] : high[0], :3]
    part *= (1.0 - np.float32(0.75 * strength) * cv2.GaussianBlur(edge, (0, 0), 1.0))[..., None]


def _brows(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> np.ndarray:
    """Paint both brows; returns how far their upper edges lie from landmarks 17 to 26, texels [10, 2]."""
    thickness = rng.uniform(0.45, 1.25) * TEXELS_PER_CM * (1.0 if look.male else 0.75)
    rise, arch, gap, tilt = (
        rng.normal(m, s) * TEXELS_PER_CM for m, s in ((0, 0.28), (0, 0.2), (0.4, 0.35), (0.45, 0.35))
    )
    rise += 0.38 * TEXELS_PER_CM
    density, softness, slant = rng.uniform(0.5, 1.0), rng.uniform(0.7, 1.8), rng.uniform(0.3, 0.9)
    colour = look.hair * (rng.uniform(0.5, 1.1) if look.hair.mean() < 0.3 else rng.uniform(0.2, 0.7))
    along = np.linspace(0.0, 1.0, 16)
    down = rise - arch * np.sin(np.pi * along) - tilt * (along - 0.35)
    edges = []
    for line, sign in zip(atlas.brows, (1.0, -1.0), strict=True):
        shift = np.stack([sign * gap * (1 - along), down], axis=1)
        centre = smoothed(line, 16) + shift
        width = thickness * np.interp(along, [0, 0.15, 0.6, 1], [0.75, 1, 0.85, 0.25]) / 2
        offset = np.stack([np.zeros(16), width], axis=1)
        edges.append((shift - _ANNOTATED_EDGE * offset)[[0, 4, 8, 11, 15]])
        outline = np.concatenate([centre - offset, (centre + offset)[::-1]])
        low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 6, 0)
        high = np.ceil(outline.max(axis=0)).astype(int) + 6
        shape = (int(high[1] - low[1]), int(high[0] - low[0]))
        mask = np.zeros(shape, np.float32)
        fill(mask, fixed(outline - low))
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), softness))
        kernel = np.zeros((7, 7), np.float32)
        lean = int(3 * slant * sign)
        cv2.line(kernel, (3 - lean, 6), (3 + lean, 0), 1.0, 1)
        hairs = cv2.filter2D(rng.normal(size=shape).astype(np.float32), -1, kernel / kernel.sum()) * 2.2
        alpha = np.clip(mask * (density + 0.25 * hairs), 0, 1) * np.clip(1.6 * mask, 0, 1)
        part = texture[low[1] : high[1], low[0] : high[0], :3]
        alpha = alpha[: part.shape[0], : part.shape[1], None]
        part += alpha * (colour.astype(np.float32) - part)
    return np.concatenate([edges[1][::-1], edges[0]])


def _beard(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    if not look.male or rng.random() > 0.7:
        return
    angle = np.abs(atlas.angle[0])
    top = np.interp(angle, [0, 0.25, 0.45, 0.7, 1.0, 1.3, 1.7], [-2.2, -2.0, -1.6, -3.0, -2.2, 0.8, 3.0])
    y = atlas.height_cm[:, :1]
    kind = rng.random()
    if kind < 0.55:  # full
        mask = (y < top) & (y > -8.8 - 1.5 * angle)
    elif kind < 0.8:  # circle
        mask = (y < top) & (y > -9.0) & (angle < 0.38)
    elif kind < 0.9:  # moustache
        mask = (y < top) & (y > -3.3) & (angle < 0.34)
    else:  # goatee
        mask = (y < -4.6) & (y > -9.0) & (angle < 0.3)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(2, 5))
    soft *= atlas.shaven
    shade = blank(1.0)
    atlas.add_noise(rng, shade, 0.35, 0.6, 1.6)
    soft *= np.float32(rng.uniform(0.15, 1.0) ** 1.2)
    soft *= shade
    NATIVE.blend(texture, np.clip(soft, 0, 0.97, out=soft), look.hair, shade)


def _hairline(rng: np.random.Generator, style: str) -> tuple[list[float], list[float]]:
    """Angle round the head (rad) and the y (cm) above which hair grows there."""
    shift = rng.normal(0.0, 0.5)
    if style == "receding":
        at = [0, 0.3, 0.6, 0.9, 1.15, 1.35, 1.55, 1.75, 1.95, 2.15]
        return at, [11.5 + shift, 11.8 + shift, 11.5, 9.5, 6, 3, 4, 4.6, 3, 2]
    if style == "scarf":
        at = [0, 0.5, 0.85, 1.05, 1.15, 2.15]
        return at, [9.2 + shift, 8.6 + shift, 6.0, 0.0, -30.0, -30.0]
    if style == "cap":
        return [0, 1.0, 2.15], [8.0 + 0.5 * shift, 7.4 + 0.5 * shift, 6.0]
    at = [0, 0.35, 0.7, 0.95, 1.15, 1.35, 1.55, 1.75, 1.95, 2.15]
    temple = rng.uniform(-1, 4)
    return at, [
        10 + shift,
        10 + shift + rng.normal(0, 0.3),
        9.3 + 0.8 * shift,
        7.2 + rng.normal(0, 0.5),
        5.2,
        temple,
        rng.uniform(2.5, 4.5),
        4.6,
        3.5,
        0.0,
    ]


def _hair_mask(rng: np.random.Generator, atlas: Atlas, style: str) -> np.ndarray:
    if style == "bald":
        return np.zeros((HEIGHT, WIDTH), np.float32)
    angle, y = np.abs(atlas.angle[0]), atlas.height_cm[:, :1]
    ragged = blank()
    if style not in ("scarf", "cap"):
        atlas.add_cloud(rng, ragged, 0.5, 25, 40)
    limit = np.interp(angle, *_hairline(rng, style)).astype(np.float32)
    mask = y - limit
    mask -= ragged
    _sigmoid(mask, 1 / 0.18)
    if style == "scarf":
        chin = np.clip((-8.6 - y) * 4.0, 0.0, 1.0)
        mask = np.maximum(mask, chin)
    if style in ("medium", "long") and rng.random() < 0.5:  # fringe
        level = rng.uniform(6.2, 9.0)
        fringe = ((y + 0 * angle > level + ragged) & (angle < 1.3)).astype(np.float32)
        mask = np.maximum(mask, cv2.GaussianBlur(fringe, (0, 0), 1.0))
    if style == "long" and rng.random() < 0.7:  # over the temples
        start = rng.uniform(0.95, 1.25)
        side = (angle > start + 0.06 * ragged).astype(np.float32)
        mask = np.maximum(mask, cv2.GaussianBlur(side, (0, 0), 1.2))
    if style not in ("buzz", "receding", "scarf", "cap") and rng.random() < 0.3:
        _locks(rng, atlas, mask)
    mask *= np.float32(rng.uniform(0.4, 0.9) if style == "buzz" else 0.98)
    return np.asarray(mask)


def _sigmoid(layer: np.ndarray, slope: float) -> None:
    """``1 / (1 + exp(-slope * layer))``, in place."""
    layer *= np.float32(-slope)
    np.clip(layer, -30.0, 30.0, out=layer)
    np.exp(layer, out=layer)
    layer += np.float32(1.0)
    np.reciprocal(layer, out=layer)


def _locks(rng: np.random.Generator, atlas: Atlas, mask: np.ndarray) -> None:
    """Loose strands over the forehead, drawn into the mask."""
    start, sweep, length = rng.uniform(-4.5, 4.5), rng.normal(0.0, 1.5), rng.uniform(1.5, 5.0)
    layer = np.zeros_like(mask)
    for _ in range(int(rng.integers(3, 16))):
        x, reach = start + rng.normal(0.0, 1.2), length * rng.uniform(0.6, 1.2)
        along = np.linspace(0.0, 1.0, 6)
        line = np.stack(
            [x + (sweep + rng.normal(0.0, 0.3)) * along * (1.4 - 0.5 * along), 10.3 - reach * along], axis=1
        )
        stroke(layer, fixed(smoothed(atlas.at(line), 14)), rng.uniform(1.0, 3.0))
    np.maximum(mask, cv2.GaussianBlur(layer, (0, 0), 0.5), out=mask)


def _hair(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint hair or cloth, the last layer; returns the finished map, int16 [HEIGHT, WIDTH, 4]."""
    shade = blank(1.0)
    if look.style in ("scarf", "cap"):
        atlas.add_noise(rng, shade, 0.06, 0.8)
        atlas.add_cloud(rng, shade, 0.12, 30, 60)
        return NATIVE.cover(texture, mask, look.cloth, np.clip(shade, 0.3, 2.0, out=shade))
    atlas.add_noise(rng, shade, 0.42, 0.7, 5.0)
    atlas.add_cloud(rng, shade, 0.14, 6, 30)
    return NATIVE.cover(texture, mask, look.hair, np.clip(shade, 0.15, 2.5, out=shade))


def paint(rng: np.random.Generator, atlas: Atlas, look: Look) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint a person.

    Returns
    -------
    texture
        int16 [HEIGHT, WIDTH, 4]: linear RGB and the share of hair or cloth; 32767 is 1.
    cover
        float32 [HEIGHT, WIDTH]: that share.
    brow_shift
        float [10, 2]: how far the painted brows lie from landmarks 17 to 26, texels.
    """
    texture = _skin(rng, atlas, look)
    _spots(rng, atlas, look, texture)
    _lips(rng, atlas, look, texture)
    _lid_edges(rng, atlas, look, texture)
    brow_shift = _brows(rng, atlas, look, texture)
    _beard(rng, atlas, look, texture)
    mask = _hair_mask(rng, atlas, look.style)
    return _hair(rng, atlas, look, texture, mask), mask, brow_shift
