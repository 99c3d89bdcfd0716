"""The shipped landmark network against two public ones: distances on real faces, steadiness, time.

python -m bench.studies.landmarks MEDIA --out bench/results/CPU/landmarks.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.bench.measure.provenance import collect
from dfer_edge.bench.measure.timing import interleaved, pin, summary

PARTS = {
    "all": slice(0, 68),
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
PAIRS = (("shipped", "faceapi68"), ("shipped", "openseeface66"), ("faceapi68", "openseeface66"))
_JITTERED = 10


def _eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))


def jittered(box: Any, rng: np.random.Generator) -> Any:
    """The box as a less steady detector would give it: side 6 %, place 4 % (standard deviations)."""
    scale, shift = np.exp(rng.normal(0, 0.06)), rng.normal(0, 0.04, 2) * max(box.width, box.height)
    x, y = (box.left + box.right) / 2 + shift[0], (box.top + box.bottom) / 2 + shift[1]
    across, down = box.width * scale / 2, box.height * scale / 2
    return type(box)(x - across, y - down, x + across, y + down)


def measure(media: Path) -> dict[str, Any]:
    """Distances as shares of the distance between the eyes, and milliseconds a face on one thread."""
    from dfer_edge.faces import make_landmark_detector
    from dfer_edge.faces.detectors import YuNetDetector
    from dfer_edge.sources.opening import open_source

    networks = {
        "shipped": make_landmark_detector("auto", 1),
        "faceapi68": make_landmark_detector(media / "onnx" / "face_landmark68_faceapi.onnx", 1),
        "openseeface66": make_landmark_detector(media / "onnx" / "face_landmark66_openseeface.onnx", 1),
    }
    detector, rng = YuNetDetector(media / "onnx" / "face_detection_yunet_2026may.onnx"), np.random.default_rng(0)
    apart: dict[str, list[np.ndarray]] = {" ".join(pair): [] for pair in PAIRS}
    wander: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for path in sorted((media / "stills" / "validation").glob("*.jpg")):
        image = next(iter(open_source(path))).image
        box = detector.detect(image)[0].box
        found = {name: network.detect(image, box) for name, network in networks.items() if network}
        unit = _eye_distance((found["faceapi68"] + found["openseeface66"]) / 2)
        for a, b in PAIRS:
            apart[f"{a} {b}"].append(np.linalg.norm(found[a] - found[b], axis=1) / unit)
        boxes = [jittered(box, rng) for _ in range(_JITTERED)]
        for name, network in networks.items():
            again = [points for one in boxes if network and (points := network.detect(image, one)) is not None]
            wander[name] += [np.linalg.norm(points - found[name], axis=1) / unit for points in again]
    calls = {name: lambda n=network: n.detect(image, box) for name, network in networks.items()}
    times = {name: summary(values) for name, values in interleaved(calls, 200, warm_up_s=0.5).items()}
    return {
        "stills": len(apart["shipped faceapi68"]),
        "median_distance": {pair: _parts(rows, np.median) for pair, rows in apart.items()},
        "mean_distance": {pair: _parts(rows, np.mean) for pair, rows in apart.items()},
        "median_move_of_points_when_the_box_is_jittered": {
            name: float(np.median(np.stack(rows))) for name, rows in wander.items()
        },
        "milliseconds_a_face_with_crop": times,
    }


def _parts(rows: list[np.ndarray], statistic: Any) -> dict[str, float]:
    return {name: float(statistic(np.stack(rows)[:, part])) for name, part in PARTS.items()}


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("media", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    cores = pin(1)
    from dfer_edge.faces.landmarks import SHIPPED

    result = measure(arguments.media)
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    command = f"python -m bench.studies.landmarks MEDIA --out bench/results/CPU/{arguments.out.name}"
    facts = collect(cores, command) | {"weights": "trained on renders alone", "file_sha256": digest, "batch": 1}
    arguments.out.write_text(json.dumps({"provenance": facts, **result}, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
