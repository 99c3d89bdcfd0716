"""The skin texture's layout: a cylinder round the head, unwrapped; and where features of the face lie on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from dfer_edge.synthesis.face_model import SKIN, FaceModel
from dfer_edge.synthesis.native import NATIVE

WIDTH, HEIGHT = 448, 416
_SPAN_RAD = 4.3  # all round but for the back of the head, whose texels repeat the edge's
_AXIS_Z_CM = 2.0
_TOP_Y_CM, _SPAN_CM = 14.8, 32.0
TEXELS_PER_CM = HEIGHT / _SPAN_CM
_RADIUS_CM = 9.0
_FRONT_PX_PER_CM = 12.0
# Where skin is red (cheeks, nose, chin) and dark (round the eyes): x, y and radius in cm, how much wider than high.
SPOTS = (
    (3.8, -0.5, 2.2, 1.0),
    (-3.8, -0.5, 2.2, 1.0),
    (0.0, 0.4, 1.6, 1.0),
    (0.0, -6.3, 1.6, 1.0),
    (3.1, 2.4, 1.5, 1.8),
    (-3.1, 2.4, 1.5, 1.8),
)


def unwrap(points: np.ndarray) -> np.ndarray:
    """Texel coordinates of head-space points; [..., 3] cm to float32 [..., 2]."""
    angle = np.arctan2(points[..., 0], points[..., 2] - _AXIS_Z_CM)
    u = (angle / _SPAN_RAD + 0.5) * (WIDTH - 1)
    v = (_TOP_Y_CM - points[..., 1]) / _SPAN_CM * (HEIGHT - 1)
    out = np.empty((*points.shape[:-1], 2), np.float32)
    out[..., 0], out[..., 1] = u, v
    return out


def shifted(points: np.ndarray, texels: np.ndarray) -> np.ndarray:
    """Head-space points [N, 3] moved over the texture by [N, 2] texels, at their distance from the cylinder's axis."""
    depth = points[:, 2] - _AXIS_Z_CM
    angle = np.arctan2(points[:, 0], depth) + texels[:, 0] * _SPAN_RAD / (WIDTH - 1)
    radius = np.hypot(points[:, 0], depth)
    y = points[:, 1] - texels[:, 1] * _SPAN_CM / (HEIGHT - 1)
    return np.stack([radius * np.sin(angle), y, _AXIS_Z_CM + radius * np.cos(angle)], axis=1).astype(np.float32)


def smoothed(points: np.ndarray, count: int = 24) -> np.ndarray:
    """A polyline through ``points`` with ``count`` points and rounded corners; float32 [count, 2]."""
    return np.asarray(smoothing(len(points), count) @ points, np.float32)


@functools.lru_cache(maxsize=32)
def smoothing(points: int, count: int) -> np.ndarray:
    """Resampling and three passes of a binomial filter as one matrix; [count, points]."""
    at = np.linspace(0, points - 1, count)
    line = np.stack([np.interp(at, np.arange(points), one) for one in np.eye(points)], axis=1)
    for _ in range(3):
        line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
    return line


def fixed(points: np.ndarray) -> np.ndarray:
    """Texel coordinates in eighths of a texel, as :func:`fill` and :func:`stroke` take them; int32, same shape."""
    return np.asarray(np.rint(points * 8), np.int32)


def fill(mask: np.ndarray, outline: np.ndarray, value: float = 1.0) -> None:
    """Fill a polygon of :func:`fixed` points."""
    cv2.fillPoly(mask, [outline], value, cv2.LINE_AA, 3)


def stroke(mask: np.ndarray, line: np.ndarray, thickness: float, closed: bool = False, value: float = 1.0) -> None:
    """Draw a polyline of :func:`fixed` points."""
    cv2.polylines(mask, [line], closed, value, max(1, round(thickness)), cv2.LINE_AA, 3)


@dataclass(frozen=True)
class Atlas:
    """Features of one model's neutral face on the texture.

    Attributes
    ----------
    uv
        float32 [V, 2]: texel of each vertex.
    skin, behind, ears
        indices of the N vertices of skin; bool [N]: those on the back of the head, those of the ears.
    texel
        int [N, 2]: column and row of each of them.
    skin_triangles
        int32 [F, 3]: triangles of skin.
    angle, height_cm
        float32 [HEIGHT, WIDTH]: angle round the head (0 at the nose, positive to the subject's left) and y.
    lips, shaven
        float32 [HEIGHT, WIDTH]: 1 on the lips; 0 there and close by, where no beard grows.
    lip_box
        rows and columns of the texels where ``lips`` is not 0.
    brows
        inner to outer ends of the subject's left and right brow, float32 [5, 2] each.
    eyes
        outlines of the subject's left and right eye, float32 [6, 2] each.
    noise
        float32 [N, HEIGHT, WIDTH]: unit normal noise, the same in every process.
    """

    uv: np.ndarray
    skin: np.ndarray
    behind: np.ndarray
    ears: np.ndarray
    texel: np.ndarray
    skin_triangles: np.ndarray
    angle: np.ndarray
    height_cm: np.ndarray
    lips: np.ndarray
    lip_box: tuple[slice, slice]
    shaven: np.ndarray
    brows: tuple[np.ndarray, np.ndarray]
    eyes: tuple[np.ndarray, np.ndarray]
    noise: np.ndarray
    front_z: np.ndarray

    def at(self, points: np.ndarray) -> np.ndarray:
        """Texels of the frontmost face points at (x, y) cm; [N, 2] to float32 [N, 2]."""
        points = np.asarray(points, np.float32).reshape(-1, 2)
        size = self.front_z.shape[0]
        column = (points[:, 0] * _FRONT_PX_PER_CM + size / 2).astype(int)
        row = (size / 2 - points[:, 1] * _FRONT_PX_PER_CM).astype(int)
        head = np.empty((len(points), 3), np.float32)
        head[:, :2] = points
        # Not np.clip, which takes longer for a few points than all else here.
        head[:, 2] = self.front_z[np.minimum(np.maximum(row, 0), size - 1), np.minimum(np.maximum(column, 0), size - 1)]
        return unwrap(head)

    @functools.cached_property
    def spots(self) -> tuple[np.ndarray, np.ndarray]:
        """Soft spots of :data:`SPOTS`, as products of float32 [N, HEIGHT] and [N, WIDTH]."""
        x, y, radius_cm, stretch = np.array(SPOTS).T[..., None]
        u, v = self.at(np.concatenate([x, y], axis=1)).T[..., None]
        scale = radius_cm * TEXELS_PER_CM
        down = np.exp(-(((np.arange(HEIGHT) - v) / scale) ** 2))
        across = np.exp(-(((np.arange(WIDTH) - u) / (scale * stretch)) ** 2))
        return down.astype(np.float32), across.astype(np.float32)

    def add_noise(
        self, rng: np.random.Generator, layer: np.ndarray, gain: float, sigma: float = 0.0, sigma_y: float | None = None
    ) -> None:
        """Add to a layer ``gain`` times unit normal noise, blurred by ``sigma`` texels and scaled to unit variance."""
        NATIVE.add_noise(
            layer,
            self.noise[rng.integers(len(self.noise))],
            down=int(rng.integers(HEIGHT)),
            right=int(rng.integers(WIDTH)),
            mirrored=bool(rng.random() < 0.5),
            sigma_x=sigma,
            sigma_y=sigma if sigma_y is None else sigma_y,
            gain=gain,
        )

    def add_cloud(
        self, rng: np.random.Generator, layer: np.ndarray, gain: float, across: float, down: float | None = None
    ) -> None:
        """Add to a layer ``gain`` times soft clouds of unit variance, each about ``across`` by ``down`` texels."""
        down = across if down is None else down
        grid = rng.normal(size=(int(HEIGHT / down) + 3, int(WIDTH / across) + 3))
        NATIVE.add_cloud(layer, grid.astype(np.float32), gain)


def blank(value: float = 0.0) -> np.ndarray:
    """A layer of the texture; float32 [HEIGHT, WIDTH]."""
    return np.full((HEIGHT, WIDTH), value, np.float32)


@functools.lru_cache(maxsize=2)
def _noise() -> np.ndarray:
    noise = np.random.default_rng(7).normal(size=(6, HEIGHT, WIDTH)).astype(np.float32)
    noise.flags.writeable = False
    return noise


def _front_depth(model: FaceModel) -> np.ndarray:
    """z of the frontmost skin at each x, y of the neutral face, 40 cm square."""
    size = int(40 * _FRONT_PX_PER_CM)
    scale = np.array([_FRONT_PX_PER_CM, -_FRONT_PX_PER_CM, 1.0], np.float32)
    screen = model.neutral * scale + np.array([size / 2, size / 2, 0.0], np.float32)
    depth, _, _ = NATIVE.raster(screen, model.triangles[model.materials == SKIN], size, size)
    holes = depth < -100.0  # eyes, mouth and outside: take the nearest skin's
    filled = np.where(holes, 0.0, depth).astype(np.float32)
    weight = cv2.GaussianBlur((~holes).astype(np.float32), (0, 0), 8.0) + 1e-6
    spread = cv2.GaussianBlur(filled, (0, 0), 8.0) / weight
    return np.where(holes, spread, depth).astype(np.float32)


def _box(layer: np.ndarray) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(layer.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def make_atlas(model: FaceModel) -> Atlas:
    """Lay out the texture of a model."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    marks = unwrap(model.neutral[model.landmarks])
    lips = np.zeros((HEIGHT, WIDTH), np.float32)
    fill(lips, fixed(marks[48:60]))
    lips = np.asarray(cv2.GaussianBlur(lips, (0, 0), 0.8))
    uv, skin = unwrap(model.neutral), np.flatnonzero(model.skin)
    x, y, z = model.neutral[skin].T
    return Atlas(
        uv=uv,
        skin=skin,
        behind=(np.abs(np.arctan2(x, z - _AXIS_Z_CM)) > 2.1) & (y > -8),
        ears=(np.abs(x) > 8.0) & (y > -1.2) & (y < 3.9) & (z < 1.2),
        skin_triangles=model.triangles[model.materials == SKIN],
        texel=np.clip(uv[skin].astype(int), 0, (WIDTH - 1, HEIGHT - 1)),
        angle=(columns / (WIDTH - 1) - 0.5) * np.float32(_SPAN_RAD),
        height_cm=np.float32(_TOP_Y_CM) - rows / (HEIGHT - 1) * np.float32(_SPAN_CM),
        lips=lips,
        lip_box=_box(lips),
        shaven=1.0 - np.clip(1.4 * cv2.dilate(lips, np.ones((3, 3), np.uint8)), 0, 1),
        brows=(marks[22:27], marks[17:22][::-1]),
        eyes=(marks[42:48], marks[36:42]),
        noise=_noise(),
        front_z=_front_depth(model),
    )
