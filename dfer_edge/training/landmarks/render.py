"""Renders for landmarks: single grey images with dense points, and what public networks see on them.

Heads turn and nod further than in clips of expressions, eyes close and mouths open more often. Shards are numbered and
each is a function of its number alone, so that a set is completed after a kill and rendered by several processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput, SourceNotFound
from dfer_edge.faces.aligned import face_frame
from dfer_edge.faces.landmark_networks import LandmarkNetwork, load_network
from dfer_edge.synthesis.action_units import AU_INDEX
from dfer_edge.synthesis.animation import Performance, perform
from dfer_edge.synthesis.clip import ClipSettings
from dfer_edge.synthesis.clip_frames import Shot
from dfer_edge.synthesis.face_model import FaceModel, load_face_model
from dfer_edge.synthesis.renderer import FaceRenderer
from dfer_edge.training.landmarks.network import DENSE
from dfer_edge.types import Box

log = logging.getLogger(__name__)

SHARD, EACH = 400, 4  # images of a shard, and of a person
SIZE, SPAN = 176, 4.6
# s of `faces.aligned.face_frame` in pixels, were the head not turned: every image shows heads at this size.
UNIT_PX = SIZE / SPAN
_FACE_VERTICES = slice(0, 9409)
# Vertices within this many cm of an eye, the mouth or the nose are chosen this much more densely.
_NEAR_CM, _DENSER = 0.7, 2.5
_FINE, _NONE = 64, -32768  # points are stored as 64ths of a pixel
FIELDS = ("grey", "landmarks", "marked", "public", "head")


def dense_vertices(model: FaceModel, count: int = DENSE) -> np.ndarray:
    """Vertices spread over the front of the face, more densely about eyes, nose and mouth; int64 [count]."""
    vertices = np.flatnonzero(model.skin)[_FACE_VERTICES]
    places = model.neutral[vertices].astype(np.float64)
    vertices, places = vertices[places[:, 2] > 0], places[places[:, 2] > 0]
    marks = model.neutral[model.landmarks[17:]].astype(np.float64)
    near = np.linalg.norm(places[:, None] - marks, axis=2).min(1) < _NEAR_CM
    density = np.where(near, _DENSER, 1.0)
    chosen = [int(places[:, 2].argmax())]
    distance = np.full(len(places), np.inf)
    while len(chosen) < count:  # the farthest from all that are chosen
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
        chosen.append(int((distance * density).argmax()))
    return np.asarray(vertices[np.array(chosen)])


def pose_and_openness(rng: np.random.Generator, performance: Performance) -> Performance:
    """The performance of a still with a wider pose, and at times closed eyes and an open mouth."""
    units, head = performance.units.copy(), performance.head.copy()
    head[:, 0] = rng.normal(0.0, 0.38) if rng.random() < 0.6 else rng.uniform(-1.3, 1.3)
    head[:, 1] = rng.normal(0.02, 0.22) if rng.random() < 0.85 else rng.uniform(-0.7, 0.7)
    head[:, 2] = rng.normal(0.0, 0.1)
    for unit, probability, low in ((43, 0.12, 0.5), (26, 0.2, 0.2), (12, 0.1, 0.3), (25, 0.1, 0.2)):
        if rng.random() < probability:
            units[:, AU_INDEX[unit]] = np.maximum(units[:, AU_INDEX[unit]], rng.uniform(low, 1.0))
    return dataclasses.replace(performance, units=units, head=head.astype(np.float32))


def settings_of(head: np.ndarray) -> ClipSettings:
    """The view of a head turned by yaw, pitch, roll: as wide as if it looked ahead, though its eyes draw together."""
    turned = float(np.sqrt((np.cos(head[0]) ** 2 + np.cos(head[1]) ** 2) / 2))
    return ClipSettings(frames=1, size=SIZE, span=min(SPAN / turned, 8.0), degrade=0.35)


def detectors_box(points: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Centre and longer side, x, y, side in pixels, of the box that a detector lays about a face of a render.

    YuNet's on 500 renders, in units of s: side 2.67 (spread 0.25), 0.18 above the middle between eyes and mouth, and
    0.57 times the sine of the yaw behind it (spread 0.09).
    """
    middle, _ = face_frame(points.astype(np.float64))
    return np.array([*(middle + UNIT_PX * np.array([-0.57 * np.sin(head[0]), -0.18])), 2.67 * UNIT_PX])


def asked(
    networks: Sequence[LandmarkNetwork], rng: np.random.Generator, image: np.ndarray, box: np.ndarray
) -> list[np.ndarray]:
    """What each network sees on a render in about a detector's box; float32 [68, 2] or NaN each."""
    x, y = box[:2] + rng.normal(0, 0.02, 2) * box[2] + 0.5
    half = box[2] * np.exp(rng.normal(0, 0.04)) / 2
    moved = Box(x - 0.75 * half, y - half, x + 0.75 * half, y + half)
    answers = (network.detect(image, moved) for network in networks)
    return [np.full((68, 2), np.nan, np.float32) if answer is None else answer for answer in answers]


def shard(renderer: FaceRenderer, seed: int, number: int, networks: Sequence[LandmarkNetwork]) -> dict[str, np.ndarray]:
    """Images of a shard: ``grey`` uint8 [N, S, S]; points as int16 in 64ths of a pixel, ``landmarks`` [N, 68, 2],
    ``marked`` [N, V, 2], ``public`` [N, P, 68, 2] (-32768 for none); ``head`` float32 [N, 3].
    """
    rows: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    rng = np.random.default_rng([seed, number])
    person = renderer.person(rng)
    for index in range(SHARD):
        if index % EACH == 0:
            person = renderer.person(rng)
        performance = pose_and_openness(rng, perform(rng, int(rng.integers(7)), np.zeros(1)))
        shot = Shot(renderer, rng, person, performance, settings_of(performance.head[0]))
        image = shot.frame(0)
        points = shot.landmarks[0]
        box = detectors_box(points, performance.head[0])
        public = np.stack(asked(networks, rng, image, box)) if networks else np.zeros((0, 68, 2))
        for name, value in (("landmarks", points), ("marked", shot.marked[0]), ("public", public)):
            fine = np.clip(np.nan_to_num(np.round(value * _FINE), nan=_NONE), _NONE, 32767)
            rows[name].append(fine.astype(np.int16))
        rows["grey"].append(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        rows["head"].append(performance.head[0])
    return {name: np.stack(values) for name, values in rows.items()}


def read_shards(folder: Path, images: int = 0) -> dict[str, np.ndarray]:
    """Fields of :func:`shard` of a set, the first ``images`` or all: points as float32 in pixels, NaN for none.

    Raises
    ------
    SourceNotFound, CorruptArtifact, InvalidInput
        No shards, a damaged one, or fewer images than asked for.
    """
    paths = sorted(folder.glob("shard-*.npz"))
    paths = paths[: -(-images // SHARD)] if images else paths
    if not paths:
        raise SourceNotFound(f"expected shards of renders in {folder}", "python -m dfer_edge.training.landmarks.render")
    rows: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    for path in paths:
        for name, array in _read(path).items():
            rows[name].append(array)
    out = {name: np.concatenate(parts) for name, parts in rows.items()}
    if len(out["grey"]) < images:
        raise InvalidInput(f"expected {images} renders in {folder}, found {len(out['grey'])}")
    for name in ("landmarks", "marked", "public"):
        stored = out[name]
        out[name] = np.where(stored == _NONE, np.nan, stored / np.float32(_FINE)).astype(np.float32)
    return {name: array[: images or None] for name, array in out.items()}


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in FIELDS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifact(f"expected a shard of renders at {path}: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m dfer_edge.training.landmarks.render", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, required=True, help=f"of {SHARD} images")
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--ask", type=Path, nargs="*", default=[], help="public landmark networks asked on each render")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    try:
        networks = [load_network(path, 1) for path in options.ask]
        model = load_face_model()
        renderer = FaceRenderer(model, dense_vertices(model))
        options.out.mkdir(parents=True, exist_ok=True)
        for number in range(options.shards):
            path = options.out / f"shard-{number:04d}.npz"
            if path.is_file():
                continue
            partial = path.with_suffix(".part")
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **shard(renderer, options.seed, number, networks))
            partial.replace(path)
            log.info("%s", path.name)
    except DferError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
