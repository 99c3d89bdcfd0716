"""Paints one person's skin, lips, brows, beard and hair on the texture of :mod:`atlas`. Colours are linear RGB."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.synthesis.atlas import HEIGHT, TEXELS_PER_CM, WIDTH, Atlas, fill, smoothed, stroke
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


def _skin(rng: np.random.Generator, atlas: Atlas, look: Look) -> np.ndarray:
    blotches = 0.05 * atlas.cloud(rng, 60) + rng.uniform(0.01, 0.05) * atlas.cloud(rng, 9)
    blotches += np.float32(1.0) + rng.uniform(0.0, 0.04) * atlas.random_noise(rng)
    redness = np.zeros((HEIGHT, WIDTH), np.float32)
    for x, y, radius, share in ((3.8, -0.5, 2.2, 1.0), (-3.8, -0.5, 2.2, 1.0), (0, 0.4, 1.6, 1.0), (0, -6.3, 1.6, 0.5)):
        redness += np.float32(share) * atlas.spot(x, y, radius)
    flush = rng.uniform(0.0, 0.22)
    rings = np.zeros_like(redness)
    for x in (3.1, -3.1):
        rings += atlas.spot(x, 2.4, 1.5, stretch=1.8)
    dark = rng.uniform(0.0, 0.3 + 0.25 * look.age)
    channels = []
    for channel, (red, ring) in enumerate(((0.5, 0.6), (-0.9, 0.75), (-0.7, 0.7))):
        tint = np.float32(flush * red) * redness
        tint -= np.float32(dark * ring) * rings
        tint += np.float32(1.0)
        tint *= blotches
        tint *= np.float32(look.skin[channel])
        channels.append(tint)
    return np.asarray(cv2.merge([*channels, blotches]))


def _spots(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    if rng.random() > 0.3 + 0.3 * look.age:
        return
    for _ in range(int(rng.integers(2, 40))):
        u, v = atlas.at(rng.uniform((-7, -8), (7, 10)))[0]
        colour = (*(float(value) for value in look.skin * rng.uniform(0.4, 0.8)), 0.0)
        cv2.circle(texture, (int(u * 8), int(v * 8)), int(8 * rng.uniform(0.4, 1.0)), colour, -1, cv2.LINE_AA, 3)


def _lips(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    colour = look.skin * (rng.uniform(0.75, 1.05), rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.8))
    if not look.male and rng.random() < 0.4:
        paint = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.02, 0.15), rng.uniform(0.04, 0.18)])
        colour = 0.5 * colour + 0.6 * paint
    NATIVE.blend(texture, atlas.lips * np.float32(rng.uniform(0.6, 1.0)), colour)


def _lid_edges(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray) -> None:
    every = np.concatenate(atlas.eyes)
    low, high = every.min(axis=0).astype(int) - 8, every.max(axis=0).astype(int) + 9
    edge = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    for outline in atlas.eyes:
        stroke(edge, outline - low, 3, closed=True)
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
        fill(mask, outline - low)
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
    hairs = 0.35 * atlas.random_noise(rng, 0.6, 1.6)
    alpha = np.clip(soft * np.float32(rng.uniform(0.15, 1.0) ** 1.2) * (1 + hairs), 0, 0.97)
    NATIVE.blend(texture, alpha, look.hair, 1 + hairs)


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
    ragged = 0.5 * atlas.cloud(rng, 25, 40) if style not in ("scarf", "cap") else np.float32(0.0)
    limit = np.interp(angle, *_hairline(rng, style)).astype(np.float32)
    mask = 1.0 / (1.0 + np.exp(np.clip((limit + ragged - y) / 0.18, -30.0, 30.0)))
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
    return np.asarray(mask * (rng.uniform(0.4, 0.9) if style == "buzz" else 0.98), np.float32)


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
        stroke(layer, smoothed(atlas.at(line), 14), rng.uniform(1.0, 3.0))
    np.maximum(mask, cv2.GaussianBlur(layer, (0, 0), 0.5), out=mask)


def _hair(rng: np.random.Generator, atlas: Atlas, look: Look, texture: np.ndarray, mask: np.ndarray) -> None:
    if look.style in ("scarf", "cap"):
        weave = 0.06 * atlas.random_noise(rng, 0.8) + 0.12 * atlas.cloud(rng, 30, 60)
        NATIVE.blend(texture, mask, look.cloth, np.clip(1 + weave, 0.3, 2.0))
    else:
        strands = 0.42 * atlas.random_noise(rng, 0.7, 5.0) + 0.14 * atlas.cloud(rng, 6, 30)
        NATIVE.blend(texture, mask, look.hair, np.clip(1 + strands, 0.15, 2.5))


def paint(rng: np.random.Generator, atlas: Atlas, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Paint a person.

    Returns
    -------
    texture
        float32 [HEIGHT, WIDTH, 4]: linear RGB and the share of hair or cloth.
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
    _hair(rng, atlas, look, texture, mask)
    np.clip(texture, 0.002, 1.0, out=texture)
    texture[..., 3] = mask
    return texture, brow_shift
