"""What finding and following cost: ratios, on a drawn 640x360 stream of real-looking faces that move.

    python -m bench.studies.following MEDIA [--seconds 4] [--rate 30] [--detector yunet.onnx]

MEDIA is the folder with ``stills/validation``. CPU time of this process, one thread, the least of three passes: one
face and six, against a search in each frame, and against a window of the engine in fp32 (openvino, one thread).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from dfer_edge import Recognizer
from dfer_edge.faces import FaceFinder, FaceFollower, make_detector
from dfer_edge.faces.landmarks import make_laying_detector
from dfer_edge.live.options import HOP_S
from dfer_edge.types import Frame

WIDTH, HEIGHT, TILE = 640, 360, 180
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
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.media, arguments.seconds, arguments.rate, arguments.detector), indent=2))


if __name__ == "__main__":
    main()
