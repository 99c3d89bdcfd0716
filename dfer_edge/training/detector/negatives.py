"""What is no face: things, blobs of skin, hands, heads without a face, parts of faces, patterns and letters."""

from __future__ import annotations

import cv2
import numpy as np

from dfer_edge.training.detector import worn
from dfer_edge.training.detector.backgrounds import background
from dfer_edge.training.detector.pasting import Scene, cut_out, paste
from dfer_edge.training.detector.pictures import Pictures
from dfer_edge.training.detector.sprites import Sprites
from dfer_edge.training.detector.worn import Head


def add(rng: np.random.Generator, scene: Scene, sprites: Sprites, pictures: Pictures) -> None:
    """Paste one thing that is no face somewhere."""
    size = scene.image.shape[0]
    extent = float(np.exp(rng.uniform(np.log(9), np.log(0.7 * size))))
    kind = rng.random()
    if kind < 0.38 and pictures.things:
        head = _thing(pictures, rng, extent)
    elif kind < 0.5:
        head = _blob(rng, extent, pictures)
    elif kind < 0.7:
        head = _faceless(rng, sprites, extent)
    elif kind < 0.79:
        head = _part(rng, sprites, extent)
    elif kind < 0.87:
        head = _hand(rng, extent)
    else:
        _letters(rng, scene.image)
        return
    _put(rng, scene, head)


def hand(rng: np.random.Generator, scene: Scene, extent: float) -> None:
    """Raise a hand of the size of the faces somewhere before them."""
    _put(rng, scene, _hand(rng, extent * float(np.exp(rng.normal(0.0, 0.3)))))


def _put(rng: np.random.Generator, scene: Scene, head: Head) -> None:
    size = scene.image.shape[0]
    roll = float(rng.normal(0.0, 25.0)) if rng.random() < 0.7 else float(rng.uniform(0, 360))
    middle = np.array(head.grey.shape[::-1], np.float64) / 2
    paste(rng, scene, head, rng.uniform(0, size, 2), roll, middle)


def _thing(pictures: Pictures, rng: np.random.Generator, extent: float) -> Head:
    grey, cover = pictures.things[int(rng.integers(len(pictures.things)))]
    scale = rng.uniform(1.0, 3.0) * extent / float(np.sqrt(grey.size))
    size = (max(4, round(grey.shape[1] * scale)), max(4, round(grey.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    layers = [cv2.resize(layer, size, interpolation=how).astype(np.float32) for layer in (grey, cover)]
    return _bare(*layers)


def _bare(grey: np.ndarray, cover: np.ndarray) -> Head:
    """A cut-out that ends where it ends: an empty row below keeps the edge from being drawn out."""
    grey, cover = (np.pad(layer, ((1, 1), (1, 1))) for layer in (grey, cover))
    return Head(grey, cover, np.zeros((73, 2)))


def _blob(rng: np.random.Generator, extent: float, pictures: Pictures) -> Head:
    """An ellipse or a rounded box: shaded as a ball, or a piece of some picture."""
    height, width = max(6, round(extent * rng.uniform(0.9, 1.5))), max(6, round(extent * rng.uniform(0.7, 1.2)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    power = rng.uniform(1.6, 5.0)
    radius = np.abs(x) ** power + np.abs(y) ** power
    cover = np.clip((1.0 - radius) * extent * 0.25, 0, 1)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        light = 0.55 + 0.45 * (x * np.cos(angle) + y * np.sin(angle)) - 0.25 * radius
        grey = rng.uniform(40, 230) * np.clip(light, 0.05, 1.0)
    else:
        grey = cv2.resize(background(rng, pictures, 64), (width, height))
    return _bare(np.asarray(grey * cover, np.float32), np.asarray(cover * 255, np.float32))


def _faceless(rng: np.random.Generator, sprites: Sprites, extent: float) -> Head:
    """A head whose face is smoothed away, covered with its own hair or cloth, or upside down within its outline."""
    head = cut_out(sprites, int(rng.integers(len(sprites.grey))), extent)
    points = head.points
    middle = points.mean(0)
    area = worn.polygon(head.grey.shape, cv2.convexHull(((points - middle) * 1.12 + middle).astype(np.float32))[:, 0])
    area = worn.soft(area, max(0.5, 0.04 * extent))
    kind = rng.random()
    if kind < 0.45:
        blurred = [worn.soft(layer, max(1.0, 0.3 * extent)) for layer in (head.grey, head.cover)]
        plain = 255.0 * blurred[0] / np.maximum(blurred[1], 8.0)
    elif kind < 0.75:  # another part of the same picture
        shift = (rng.uniform(0.6, 1.2, 2) * extent * rng.choice((-1.0, 1.0), 2)).astype(int)
        moved = [np.roll(layer, tuple(shift), (0, 1)) for layer in (head.grey, head.cover)]
        plain = np.where(moved[1] > 128, moved[0], float(rng.uniform(0, 255)))
    else:
        texture = rng.uniform(0, 255, (int(rng.integers(2, 12)),) * 2).astype(np.float32)
        plain = cv2.resize(texture, head.grey.shape[::-1], interpolation=cv2.INTER_CUBIC)
    head.blend(area * head.cover / 255, np.asarray(plain, np.float32))
    return head


def _part(rng: np.random.Generator, sprites: Sprites, extent: float) -> Head:
    """An eye, a nose, a mouth or an ear alone, much enlarged."""
    index = int(rng.integers(len(sprites.grey)))
    points = sprites.points[index]
    own = Head(sprites.grey[index], sprites.cover[index], points).extent
    at = points[int(rng.choice((0, 16, 19, 24, 30, 37, 44, 48, 54, 57, 8)))]
    half = max(6, int(own * rng.uniform(0.12, 0.2)))
    x, y = (int(np.clip(value, half, sprites.grey.shape[1] - half)) for value in at)
    size = max(6, round(extent * 0.8))
    window = slice(y - half, y + half), slice(x - half, x + half)
    how = cv2.INTER_AREA if size < 2 * half else cv2.INTER_LINEAR
    grey, cover = (
        cv2.resize(layer[index][window], (size, size), interpolation=how).astype(np.float32)
        for layer in (sprites.grey, sprites.cover)
    )
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    soft = np.clip((1.0 - np.hypot(rows, columns)) * 4, 0, 1).astype(np.float32) if rng.random() < 0.6 else 1.0
    return _bare(grey * soft, cover * soft)


def _hand(rng: np.random.Generator, extent: float) -> Head:
    side = max(12, round(extent * 1.6))
    head = Head(np.zeros((side, side), np.float32), np.zeros((side, side), np.float32), np.zeros((73, 2)))
    tone = float(rng.uniform(40, 230))
    middle = np.array([side * 0.5, side * 0.65])
    palm = np.zeros_like(head.grey)
    cv2.circle(palm, tuple(int(v) for v in middle), max(2, int(0.24 * side)), 1.0, -1, cv2.LINE_AA)
    head.blend(palm, tone * (0.7 + 0.35 * worn.soft(palm, max(0.6, 0.08 * side))))
    along = np.array([rng.normal(0, 0.15), 1.0])
    worn.fingers(rng, head, middle - (0.0, 0.42 * side), along, tone, 0.5 * side)
    return head


def _letters(rng: np.random.Generator, image: np.ndarray) -> None:
    """A line of letters and digits."""
    size = image.shape[0]
    text = "".join(chr(int(code)) for code in rng.integers(33, 122, int(rng.integers(1, 12))))
    at = (int(rng.uniform(-20, size - 20)), int(rng.uniform(0, size)))
    scale = float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    font, weight = int(rng.integers(0, 8)), int(rng.integers(1, 2 + int(5 * scale)))
    if rng.random() < 0.5:  # an edge or a shadow
        shift = int(rng.integers(-2, 3))
        shadow = (at[0] + shift, at[1] + shift)
        cv2.putText(image, text, shadow, font, scale, float(rng.uniform(0, 255)), weight + 3, cv2.LINE_AA)
    cv2.putText(image, text, at, font, scale, float(rng.uniform(0, 255)), weight, cv2.LINE_AA)
