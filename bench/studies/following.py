"""Following: what it costs, with finding, on a drawn 640x360 stream of faces that move, and how true it is on clips.

    python -m bench.studies.following MEDIA [--seconds 4] [--rate 30] [--detector yunet.onnx] [--json OUT]

MEDIA is the folder with ``stills/validation``, ``video`` and ``onnx``. CPU time of this process, one thread, the least
of three passes: one face and six, against a search in each frame, and against a window of the engine in fp32 (openvino,
one thread). Clips of real people: overlap of the boxes followed with those that YuNet finds in the same frame, and who
is in how many frames.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from bench.studies.face_detection import YUNET
from dfer_edge import Recognizer
from dfer_edge.bench.measure.provenance import collect
from dfer_edge.faces import FaceFinder, FaceFollower, make_detector
from dfer_edge.faces.detectors import YuNetDetector
from dfer_edge.faces.landmarks import make_laying_detector
from dfer_edge.live.options import HOP_S
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Frame

WIDTH, HEIGHT, TILE = 640, 360, 180
CLIPS = ("single_face.mp4", "two_people_head_pose.gif", "three_people_walking.gif")
PLACES = [(x, y) for y in (0, 180) for x in (20, 230, 440)]


def stream(media: Path, faces: int, seconds: float, rate: float) -> list[Frame]:
    """Heads that sway by a tenth of their size a second, over an even wall with a little noise of the camera."""
    paths = sorted((media / "stills" / "validation").glob("*_t8_*.jpg"))[:faces]
    heads = [cv2.resize(cv2.imread(str(path))[..., ::-1], (TILE, TILE), interpolation=cv2.INTER_AREA) for path in paths]
    rng, frames = np.random.default_rng(0), []
    for index in range(round(seconds * rate)):
        image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        for number, (head, (x, y)) in enumerate(zip(heads, PLACES, strict=False)):
            phase = 2 * np.pi * (index / rate / 2 + number / 7)
            shift = np.float32([[1, 0, 5 * np.sin(phase)], [0, 1, 3 * np.cos(phase)]])
            image[y : y + TILE, x : x + TILE] = cv2.warpAffine(
                head, shift, (TILE, TILE), borderMode=cv2.BORDER_REPLICATE
            )
        noisy = image + rng.normal(0, 2, image.shape).astype(np.float32)
        frames.append(Frame(noisy.clip(0, 255).astype(np.uint8), index, index / rate))
    return frames


def least_s(work: object, passes: int = 3) -> float:
    """CPU seconds of the fastest pass."""
    times = []
    for _ in range(passes):
        start = time.process_time()
        work()  # type: ignore[operator]
        times.append(time.process_time() - start)
    return min(times)


def measure(media: Path, seconds: float, rate: float, detector: str) -> dict[str, object]:
    """Milliseconds and ratios."""
    cv2.setNumThreads(1)
    finder = FaceFinder(make_detector(detector), make_laying_detector("auto", 1))
    found: dict[str, object] = {"detector": finder.name, "landmarks": finder.landmarks.name, "rate": rate}
    cost = {}
    for faces in (1, 6):
        frames, did = stream(media, faces, seconds, rate), Counter()
        seen: list[int] = []

        def follow(frames: list[Frame] = frames, did: Counter = did, seen: list[int] = seen) -> None:
            follower = FaceFollower(finder)
            did.clear()
            seen[:] = [len(follower.update(frame)) for frame in frames if not did.update([follower.last])]

        cost[faces] = least_s(follow) / len(frames) * 1e3
        found[f"faces_{faces}"] = {
            "follow_ms_a_frame": cost[faces],
            "search_ms_a_frame": least_s(lambda f=frames: [finder.search(x.image) for x in f[:20]]) / 20 * 1e3,
            "frames_with_all": float(np.mean(np.asarray(seen) == faces)),
        }
    window = _window_ms()
    found |= {
        "engine_window_ms": window,
        "six_to_one": cost[6] / cost[1],
        "frame_to_window": cost[1] / window,
        "default_hop_to_window": cost[1] * HOP_S * rate / window,
        "half_second_to_window": cost[1] * 0.5 * rate / window,
        "six_a_person_frame_to_window": cost[6] / 6 / window,
    }
    return found


def truth(media: Path, detector: str) -> dict[str, dict[str, object]]:
    """Of each clip the mean overlap with YuNet's boxes, a face that is not followed counting 0, and frames a person."""
    yunet, landmarks = YuNetDetector(media / YUNET), make_laying_detector("auto", 1)
    found: dict[str, dict[str, object]] = {}
    for name in CLIPS:
        shared, seen, count = [], Counter[int](), 0
        # Boxes in the detector's convention: the network's would be another convention than YuNet's.
        for frame, faces in FaceFollower(FaceFinder(make_detector(detector), landmarks, aligns=False)).track(
            open_source(media / "video" / name)
        ):
            count += 1
            seen.update(face.track_id for face in faces)
            wanted = [face.box for face in yunet.detect(frame.image)]
            shared += [max((face.box.iou(box) for face in faces), default=0.0) for box in wanted]
        found[name] = {"frames": count, "mean_iou": float(np.mean(shared)), "frames_of": dict(sorted(seen.items()))}
    return found


def _window_ms() -> float:
    recognizer = Recognizer("slowr50_sa", engine="openvino", precision="fp32", detector="haar", threads=1)
    shape = (1, *recognizer.spec.input_shape)
    feed = {"clip": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    recognizer._engine.infer(feed)
    return least_s(lambda: [recognizer._engine.infer(feed) for _ in range(5)]) / 5 * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()
    found = measure(arguments.media, arguments.seconds, arguments.rate, arguments.detector)
    found["clips"] = truth(arguments.media, arguments.detector)
    print(json.dumps(found, indent=2))
    if arguments.json:
        provenance = collect(sorted(os.sched_getaffinity(0)), "python -m bench.studies.following MEDIA")
        arguments.json.write_text(json.dumps({"provenance": provenance, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
