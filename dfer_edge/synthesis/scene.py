"""Camera and light of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfer_edge.faces.aligned import face_frame

HEAD_CENTRE_CM = np.array([0.0, 0.0, 5.0], np.float32)


@dataclass(frozen=True)
class Light:
    """Lights that stay for a clip; arrays as :meth:`Renderer.render` takes them.

    Attributes
    ----------
    lamps
        float32 [3, 6]: direction towards the lamp and linear RGB of key, fill and rim light.
    ambient
        float32 [9, 3]: spherical harmonics of what comes from all round.
    shadow
        float32 [2]: strength, softness in texels of the shadow map.
    occlusion
        float32 [5]: small radius (cm) and gain, large radius and gain, strength.
    skin
        float32 [5]: bump and cavity strength, how far light wraps round skin in R, G, B.
    """

    lamps: np.ndarray
    ambient: np.ndarray
    shadow: np.ndarray
    occlusion: np.ndarray
    skin: np.ndarray


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def _hue(rng: np.random.Generator, spread: float) -> np.ndarray:
    """White, warm or cool, at times coloured; mean 1."""
    kind = rng.random()
    if kind < 0.5:
        return np.ones(3)
    if kind < 0.94:
        warmth = rng.normal(0.06, 0.11)
        colour = np.array([1 + warmth, 1.0, 1 - warmth])
    else:
        colour = np.exp(rng.normal(0.0, spread, 3))
    return np.asarray(np.clip(colour / colour.mean(), 0.2, 2.0))


def draw_light(rng: np.random.Generator) -> Light:
    """Draw a light: key from the front upper half mostly, some fill, at times a rim."""
    # Half of the lights are soft: rooms, overcast skies and studios leave hardly any shadow on a face.
    soft = rng.random() < 0.5
    sky = _hue(rng, 0.3) * (
        rng.uniform(0.4, 1.2) if soft else rng.uniform(0.07, 0.42) * (0.35 if rng.random() < 0.2 else 1.0)
    )
    ground = sky * rng.uniform(0.2, 0.9) * np.array([1.05, 1.0, 0.93])
    up = _unit(np.array([rng.normal(0, 0.5), 1.0, rng.uniform(-0.3, 0.8)]))
    ambient = np.zeros((9, 3))
    ambient[0] = 0.5 * (sky + ground)
    for row, axis in ((1, 1), (2, 2), (3, 0)):
        ambient[row] = 0.5 * (sky - ground) * up[axis]
    ambient[4:] = rng.normal(0.0, 0.04, (5, 1)) * ambient[0]  # windows and walls
    key = _unit(np.array([rng.normal(0, 0.8), rng.normal(0.4, 0.5), rng.uniform(0.15, 1.2)]))
    fill = _unit(np.array([-np.sign(key[0]) * rng.uniform(0.2, 1), rng.normal(0, 0.4), rng.uniform(0, 1)]))
    rim = _unit(np.array([rng.choice((-1.0, 1.0)), rng.normal(0.2, 0.4), rng.uniform(-0.9, -0.1)]))
    lamps = np.zeros((3, 6))
    lamps[0] = [*key, *(_hue(rng, 0.45) * (rng.uniform(0.2, 0.9) if soft else rng.uniform(0.55, 1.7)))]
    lamps[1] = [*fill, *(_hue(rng, 0.5) * (rng.uniform(0.0, 0.7) if rng.random() < 0.6 else 0.0))]
    lamps[2] = [*rim, *(_hue(rng, 0.5) * (rng.uniform(0.0, 1.6) if rng.random() < 0.35 else 0.0))]
    wrap = rng.uniform(0.7, 1.3)
    return Light(
        lamps=lamps.astype(np.float32),
        ambient=ambient.astype(np.float32),
        shadow=np.array([rng.uniform(0.2, 0.7) if soft else rng.uniform(0.5, 1.0), rng.uniform(0.8, 3.5)], np.float32),
        occlusion=np.array([0.35, 0.5, 1.2, 0.22, rng.uniform(0.9, 1.3)], np.float32),
        skin=np.array([rng.uniform(4, 8), rng.uniform(0.2, 0.7), 0.35 * wrap, 0.2 * wrap, 0.15 * wrap], np.float32),
    )


def rotations(head: np.ndarray) -> np.ndarray:
    """Rotation of the head from yaw, pitch and roll (rad, [T, 3]): roll after yaw after pitch; float32 [T, 3, 3]."""
    out = np.empty((len(head), 3, 3), np.float32)
    for row, (yaw, pitch, roll) in zip(out, np.asarray(head, np.float64), strict=True):
        cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        row[:] = lean @ turn @ nod
    return out


def project(points: np.ndarray, rotation: np.ndarray, distance_cm: float) -> np.ndarray:
    """Head-space points [T, N, 3] to the image plane [T, N, 2], cm, y up."""
    turned = (points - HEAD_CENTRE_CM) @ np.swapaxes(rotation, 1, 2)
    scale = distance_cm / (distance_cm - turned[..., 2:])
    return np.asarray(turned[..., :2] * scale)


def view_of(planes: np.ndarray, size: int, span: float, offset: np.ndarray) -> np.ndarray:
    """The affine map of a camera that holds still and frames the whole clip.

    Parameters
    ----------
    planes
        float [T, 68, 2]
    span
        Width of the view in units of s.
    offset
        Shift of the view, in units of its width.

    Returns
    -------
    float32 [T, 6]: image plane to pixels of a ``size`` image, ``x' = a0 x + a1 y + a2; y' = a3 x + a4 y + a5``
    """
    centres, scales = face_frame(planes)
    centre = centres.mean(axis=0)
    scale = size / (span * float(scales.mean()))
    row = [scale, 0.0, size / 2 - scale * centre[0], 0.0, -scale, size / 2 + scale * centre[1]]
    affine = np.tile(np.array(row), (len(planes), 1))
    affine[:, [2, 5]] += size * np.asarray(offset)
    return affine.astype(np.float32)


def to_pixels(planes: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Image-plane points [T, N, 2] to pixels whose centres are whole numbers; float32 [T, N, 2]."""
    a = affine[:, None, :]
    x = a[..., 0] * planes[..., 0] + a[..., 1] * planes[..., 1] + a[..., 2]
    y = a[..., 3] * planes[..., 0] + a[..., 4] * planes[..., 1] + a[..., 5]
    return (np.stack([x, y], axis=-1) - 0.5).astype(np.float32)
