"""Haar, YuNet and the shipped face detector on photographs and videos of real people.

python -m bench.studies.face_detection REAL MEDIA [--detector FILE.onnx] [--json OUT]

REAL is the folder of cut files (helen_test and afw under ``landmarks``, photographs under ``hard``), MEDIA holds
``onnx/face_detection_yunet_2026may.onnx``, ``stills`` and ``video``. Nothing of either is written anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dfer_edge.bench.measure.provenance import collect
from dfer_edge.errors import DferError
from dfer_edge.faces.detectors import Detector, HaarDetector, YuNetDetector
from dfer_edge.faces.rendered import SHIPPED, RenderedFaces
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Box, Image

_LEAST_IOU, _LEAST_PX, _NEAR_PX = 0.4, 24, 1600
_PHOTOS = (".jpg", ".jpeg", ".png")
YUNET = "onnx/face_detection_yunet_2026may.onnx"


def read(path: Path) -> Image:
    """A photograph, RGB."""
    return next(iter(open_source(path))).image


def annotated_box(path: Path) -> Box:
    """The bounding box of the points in a ``.pts`` file: bare lines, or lines in braces; the first pixel is 1."""
    text = path.read_text()
    body = text[text.index("{") + 1 : text.rindex("}")] if "{" in text else text
    points = np.array([line.replace(",", " ").split()[:2] for line in body.splitlines() if line.strip()], float) - 1.0
    return Box(*points.min(0), *points.max(0))


def photos(folder: Path) -> list[Path]:
    """Photographs of a folder in order."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _PHOTOS)


def annotated(folder: Path) -> Iterator[tuple[Path, Box]]:
    """Photographs with the box of each annotated face: ``x_1.pts`` is of ``x_1.jpg``, else of ``x_*.jpg``."""
    by_stem = {path.stem: path for path in photos(folder)}
    for points in sorted(folder.glob("*.pts")):
        photo = by_stem.get(points.stem)
        if photo is None:
            family = points.stem.rsplit("_", 1)[0]
            photo = next((path for stem, path in by_stem.items() if stem.rsplit("_", 1)[0] == family), None)
        if photo is not None:
            yield photo, annotated_box(points)


def best_iou(box: Box, found: list[Box]) -> float:
    """Overlap with the nearest of some boxes."""
    return max((box.iou(other) for other in found), default=0.0)


def boxes(detector: Detector, image: Image) -> list[Box]:
    """Boxes alone."""
    return [detection.box for detection in detector.detect(image)]


def recall(detector: Detector, folder: Path) -> dict[str, object]:
    """Share of annotated faces with a box over them, and which photographs lack one."""
    found: dict[Path, list[Box]] = {}
    hits, missed = [], []
    for path, box in annotated(folder):
        if path not in found:
            found[path] = boxes(detector, read(path))
        hits.append(best_iou(box, found[path]) >= _LEAST_IOU)
        if not hits[-1]:
            missed.append(path.name)
    return {"faces": len(hits), "found": int(sum(hits)), "recall": round(float(np.mean(hits)), 4), "missed": missed}


def empty(detector: Detector, real: Path, media: Path) -> dict[str, object]:
    """Boxes where there is no face."""
    stills = [*photos(real / "hard" / "photo_no_face"), media / "stills" / "no_face.jpg"]
    frames = [frame.image for frame in open_source(media / "video" / "no_face.mp4")]
    return {
        "photos": len(stills),
        "boxes_in_photos": sum(len(boxes(detector, read(path))) for path in stills),
        "frames": len(frames),
        "frames_with_boxes": sum(bool(boxes(detector, image)) for image in frames),
    }


def judges(image: Image, media: Path) -> list[Box]:
    """Faces that two public detectors see when they look closely: YuNet at four sizes, Ultra-Light at one.

    YuNet needs some 10 pixels a face: it sees the image doubled too, for who finds smaller ones.
    """
    found = []
    for longest in (320, 800, 1600):
        found += boxes(YuNetDetector(media / YUNET, longest, threshold=0.35), image)
    doubled = np.asarray(cv2.resize(image, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC), np.uint8)
    near = boxes(YuNetDetector(media / YUNET, 2 * _NEAR_PX, threshold=0.35), doubled)
    found += [Box(*(edge / 2 for edge in box)) for box in near]
    return found + _ultralight(image, media / "onnx" / "face_detection_ultralight_rfb320.onnx")


def _ultralight(image: Image, path: Path, threshold: float = 0.5) -> list[Box]:
    network = cv2.dnn.readNetFromONNX(str(path))
    small = cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA).astype(np.float32)
    network.setInput(((small - 127) / 128).transpose(2, 0, 1)[None])
    outputs = network.forward(network.getUnconnectedOutLayersNames())
    scores = next(output for output in outputs if output.shape[-1] == 2)[0, :, 1]
    corners = next(output for output in outputs if output.shape[-1] == 4)[0]
    height, width = image.shape[:2]
    return [Box(*(row * (width, height, width, height))) for row in corners[scores > threshold]]


def crowds(detector: Detector, yunet: Detector, real: Path, media: Path) -> dict[str, object]:
    """Boxes that no judge confirms, and the share of YuNet's faces of 24 pixels and more that are found too."""
    unconfirmed, hits = [], []
    for path in [*photos(real / "hard" / "photo_groups_crowds"), *photos(real / "hard" / "photo_masks_crowds")]:
        image = read(path)
        found, seen = boxes(detector, image), judges(image, media)
        unconfirmed += [f"{path.name} {box.rounded()}" for box in found if best_iou(box, seen) < 0.3]
        wanted = [box for box in boxes(yunet, image) if min(box.width, box.height) >= _LEAST_PX]
        hits += [best_iou(box, found) >= _LEAST_IOU for box in wanted]
    share = round(float(np.mean(hits)), 4)
    return {"of_yunet": len(hits), "share": share, "unconfirmed": len(unconfirmed), "where": unconfirmed}


def cost(detectors: list[Detector], media: Path, rounds: int = 3) -> dict[str, float]:
    """CPU milliseconds a 640x360 frame, all threads together; the detectors take turns, the best round counts."""
    frames = [frame.image for frame in open_source(media / "video" / "single_face.mp4")]
    spent: dict[str, list[float]] = {detector.name: [] for detector in detectors}
    for _ in range(rounds):
        for detector in detectors:
            start = time.process_time()
            for image in frames:
                detector.detect(image)
            spent[detector.name].append((time.process_time() - start) / len(frames) * 1e3)
    return {name: round(min(values), 2) for name, values in spent.items()}


def missing(real: Path, media: Path) -> list[Path]:
    """What of the two folders is not there."""
    folders = [
        *(real / "landmarks" / name for name in ("helen_test", "afw")),
        *(real / "hard" / f"photo_{name}" for name in ("groups_crowds", "masks_crowds", "no_face")),
    ]
    files = [media / name for name in (YUNET, "stills/no_face.jpg", "video/no_face.mp4", "video/single_face.mp4")]
    absent = [folder for folder in folders if not folder.is_dir() or not photos(folder)]
    return absent + [file for file in files if not file.is_file()]


def main() -> int:
    """Exit code 0 measured, 1 failed, 2 a folder is absent or only half cut."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="another training of the shipped detector")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    options = parser.parse_args()
    absent = missing(options.real, options.media)
    if absent:
        print("not there or empty: " + ", ".join(map(str, absent)), file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    try:
        yunet = YuNetDetector(options.media / YUNET)
        table = measure([HaarDetector(), yunet, RenderedFaces(options.detector)], yunet, options.real, options.media)
    except DferError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        provenance = collect(sorted(os.sched_getaffinity(0)), "python -m bench.studies.face_detection REAL MEDIA")
        options.json.write_text(json.dumps({"provenance": provenance, "detectors": table}, indent=1) + "\n")
    return 0


def measure(detectors: list[Detector], yunet: Detector, real: Path, media: Path) -> dict[str, dict[str, object]]:
    """All rows of the table, printed as they come."""
    spent = cost(detectors, media)
    table: dict[str, dict[str, object]] = {}
    for detector in detectors:
        row = table[detector.name] = {
            "helen": recall(detector, real / "landmarks" / "helen_test"),
            "afw": recall(detector, real / "landmarks" / "afw"),
            "empty": empty(detector, real, media),
            "crowds": crowds(detector, yunet, real, media),
            "cpu_ms": spent[detector.name],
        }
        print(detector.name, json.dumps(row), flush=True)
    return table


if __name__ == "__main__":
    sys.exit(main())
