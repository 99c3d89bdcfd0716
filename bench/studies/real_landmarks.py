"""Landmark networks against annotated photos: errors by set and part, failures, steadiness of the box.

python -m bench.studies.real_landmarks REAL MEDIA [--network FILE.onnx] [--out FILE.json]

REAL/landmarks holds the folders helen_test and afw: photos and `.pts` files of 68 points (1-based, bare lines or with a
header in braces), cut as their page says. Error: mean distance over the points, divided by the distance between the
outer eye corners. Boxes are YuNet's, as the detector finds them and jittered. Exit code 2 where the photos are absent
or half cut.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.studies.landmarks import PARTS, jittered
from dfer_edge.bench.measure.provenance import collect
from dfer_edge.bench.measure.timing import interleaved, pin, summary
from dfer_edge.faces import make_landmark_detector
from dfer_edge.faces.detectors import YuNetDetector
from dfer_edge.faces.landmarks import FACE_SCORE, find_scored
from dfer_edge.types import Box

# Folder -> annotated faces when the cut is whole.
SETS = {"helen_test": 177, "afw": 172}
FAILURE = 0.1
_JITTERED = 3
_PLACES = 25


class Absent(Exception):
    """The photos are not there, or not all of them."""


@dataclass(frozen=True)
class Face:
    """A photo RGB uint8 [H, W, 3], the annotated points float64 [68, 2] (0-based) and YuNet's box, None if missed."""

    image: np.ndarray
    points: np.ndarray
    box: Box | None

    @property
    def unit(self) -> float:
        """Distance between the outer corners of the eyes."""
        return float(np.linalg.norm(self.points[45] - self.points[36]))


def read_points(path: Path) -> np.ndarray:
    """The 68 points of a `.pts` file, 0-based; float64 [68, 2]."""
    lines = [line.split() for line in path.read_text().splitlines()]
    numbers = [line for line in lines if len(line) == 2 and not line[0].endswith(":")]
    points = np.array(numbers, np.float64)
    if points.shape != (68, 2):
        raise Absent(f"expected 68 points in {path}, found {list(points.shape)}")
    return points - 1.0


def read_set(folder: Path, detector: YuNetDetector) -> list[Face]:
    """Faces of a folder; several `.pts` may share a photo, whose name begins as theirs do."""
    files = sorted(folder.glob("*.pts"))
    if len(files) != SETS[folder.name]:
        raise Absent(f"expected {SETS[folder.name]} annotated faces in {folder}, found {len(files)}")
    photos = {path.stem: path for path in folder.glob("*.jpg")}
    by_start = {stem.rpartition("_")[0]: path for stem, path in photos.items()}
    seen: dict[Path, tuple[np.ndarray, list[Box]]] = {}
    faces = []
    for file in files:
        path = photos.get(file.stem) or by_start.get(file.stem.rpartition("_")[0])
        if path is None:
            raise Absent(f"expected the photo of {file}")
        if path not in seen:
            image = cv2.imread(str(path))
            if image is None:
                raise Absent(f"expected a photo that decodes at {path}")
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            seen = {path: (image, [found.box for found in detector.detect(image)])}
        image, boxes = seen[path]
        points = read_points(file)
        faces.append(Face(image, points, _of(points, boxes)))
    return faces


def _of(points: np.ndarray, boxes: list[Box]) -> Box | None:
    """The box that overlaps the rectangle about the points most, at least by 0.3."""
    around = Box(*(float(edge) for edge in (*points.min(0), *points.max(0))))
    best = max(boxes, key=around.iou, default=None)
    return best if best is not None and around.iou(best) >= 0.3 else None


def errors(network: Any, faces: list[Face], jitter: int = 0) -> np.ndarray:
    """Distances [N, 68] in units of the outer eye distance; NaN rows where the detector missed the face, infinite ones
    where the network says that there is none. With ``jitter`` each face counts so many times, in moved boxes.
    """
    rng, rows = np.random.default_rng(0), []
    for face in faces:
        for _ in range(max(jitter, 1)):
            if face.box is None:
                rows.append(np.full(68, np.nan))
                continue
            points = network.detect(face.image, jittered(face.box, rng) if jitter else face.box)
            row = np.full(68, np.inf) if points is None else np.linalg.norm(points - face.points, axis=1) / face.unit
            rows.append(row)
    return np.stack(rows)


def summarised(rows: np.ndarray) -> dict[str, Any]:
    """Percentages: mean error of the faces that the network answered, by part; failures count refused faces too."""
    known = rows[~np.isnan(rows).any(1)]
    answered = known[np.isfinite(known).all(1)]
    return {
        "faces": len(rows),
        "missed_by_the_detector": len(rows) - len(known),
        "refused_by_the_network": len(known) - len(answered),
        "error_percent": {name: round(100 * float(answered[:, part].mean()), 2) for name, part in PARTS.items()},
        "median_error_percent": round(100 * float(np.median(answered.mean(1))), 2),
        "failures_percent": round(100 * float((known.mean(1) > FAILURE).mean()), 2),
    }


def places_taken_for_faces(networks: dict[str, Any], folder: Path) -> dict[str, float]:
    """Percentage of random squares in photos without a face in which each network sees one."""
    rng, seen = np.random.default_rng(1), {name: [] for name in networks}  # type: dict[str, list[bool]]
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        raise Absent(f"expected photos without a face in {folder}, found none")
    for path in paths:
        image = cv2.imread(str(path))
        if image is None:
            raise Absent(f"expected a photo that decodes at {path}")
        height, width = image.shape[:2]
        for _ in range(_PLACES):
            side = float(np.exp(rng.uniform(np.log(40), np.log(min(height, width)))))
            left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
            place = Box(left, top, left + side, top + side)
            for name, network in networks.items():
                seen[name].append(find_scored(network, image[..., ::-1], place).score >= FACE_SCORE)
    return {name: round(100 * float(np.mean(values)), 1) for name, values in seen.items()}


def measure(real: Path, media: Path, mine: Path | None) -> dict[str, Any]:
    """Every network on every set, and milliseconds a face on one thread."""
    if not (real / "landmarks").is_dir():
        raise Absent(f"expected annotated photos in {real / 'landmarks'}, found nothing")
    networks = {
        "shipped": make_landmark_detector(mine or "auto", 1),
        "faceapi68": make_landmark_detector(media / "onnx" / "face_landmark68_faceapi.onnx", 1),
        "openseeface66": make_landmark_detector(media / "onnx" / "face_landmark66_openseeface.onnx", 1),
    }
    detector = YuNetDetector(media / "onnx" / "face_detection_yunet_2026may.onnx")
    result: dict[str, Any] = {}
    for name in SETS:
        faces = read_set(real / "landmarks" / name, detector)
        result[name] = {
            kind: {"yunet": summarised(errors(n, faces)), "jittered": summarised(errors(n, faces, _JITTERED))}
            for kind, n in networks.items()
        }
        face = next(one for one in faces if one.box is not None)
    taken = places_taken_for_faces(networks, real / "hard" / "photo_no_face")
    calls = {kind: lambda n=n: n.detect(face.image, face.box) for kind, n in networks.items()}  # type: ignore[union-attr]
    times = {kind: summary(values) for kind, values in interleaved(calls, 200, warm_up_s=0.5).items()}
    return {"sets": result, "places_taken_for_faces_percent": taken, "milliseconds_a_face_with_crop": times}


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit code 0 done, 2 no photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("--network", type=Path, help="instead of the shipped one")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    cores = pin(1)
    try:
        result = measure(options.real, options.media, options.network)
    except Absent as absent:
        print(absent, file=sys.stderr)
        return 2
    text = json.dumps(
        {"provenance": collect(cores, "python -m bench.studies.real_landmarks REAL MEDIA"), **result}, indent=2
    )
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
