"""Streams for hours at the pace of the machine: does memory, do threads or descriptors grow?

    python -m bench.studies.soak [--hours 1] [--video FILE] [--engine openvino] [--precision bf16] [--out FILE.json]

A camera of 25 frames a second whose clock runs as fast as frames are taken. People come and go, one to three at a time,
the size of the picture changes, and after each minute the stream is closed, a live source is lost and comes back, and
another stream is opened. What the process holds is written down after each minute; the first sixth warms up. Ends with
1 if, from then on, memory grew by more than 2 %, or a thread or descriptor stayed. Memory is what is resident, and the
part of it that is no page of a file: the system takes those back when others need room, and growth would not show.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge import Recognizer
from dfer_edge.bench.cases.live_latency import SIZE, crowd
from dfer_edge.bench.measure import provenance
from dfer_edge.live.capture import Feed
from dfer_edge.sinks.records import JsonLinesSink
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Image

RATE = 25
MOST_GROWTH = 0.02
_VIDEO = Path(__file__).resolve().parents[2] / "tests" / "assets" / "astronaut.mp4"
# Seconds of a minute: faces in the picture, and whether it is of another size.
_MINUTE = ((10, 1, False), (4, 0, False), (16, 3, False), (4, 0, True), (14, 2, True), (12, 1, False))


@dataclasses.dataclass(frozen=True)
class Held:
    """What the process holds after so many seconds of video: bytes, resident and anonymous, threads, descriptors."""

    video_s: float
    resident: int
    anonymous: int
    threads: int
    descriptors: int


def held(video_s: float) -> Held:
    """Now, after collecting what is garbage."""
    gc.collect()
    resident, of_files = (int(pages) for pages in Path("/proc/self/statm").read_text().split()[1:3])
    threads, descriptors = (len(list(Path(f"/proc/self/{what}").iterdir())) for what in ("task", "fd"))
    sizes = [pages * resource.getpagesize() for pages in (resident, resident - of_files)]
    return Held(video_s, *sizes, threads, descriptors)


class Scenes:
    """The pictures of a minute, made once."""

    def __init__(self, video: Path) -> None:
        taken = [frame.image for frame in itertools.islice(open_source(video), 50)]
        nobody = [np.full((*SIZE, 3), 90, np.uint8)]
        self._people = {faces: crowd(taken, faces) if faces else nobody for faces in (0, 1, 2, 3)}

    def minute(self, share: float = 1.0) -> Iterator[Image]:
        """Frames of a minute, or of a share of it."""
        for seconds, faces, is_other in _MINUTE:
            for index in range(round(seconds * RATE * share)):
                image = self._people[faces][index % len(self._people[faces])]
                yield np.ascontiguousarray(image[20:-20, :-80]) if is_other else image


class Flaky(Feed):
    """A camera that is unplugged after a second and is back at once."""

    live = reopens = True

    def __init__(self, scenes: Scenes) -> None:
        super().__init__("flaky")
        self._scenes = scenes

    def items(self) -> Iterator[tuple[Image, float | None]]:
        """See :class:`Feed`."""
        for image in itertools.islice(self._scenes.minute(), RATE):
            time.sleep(1 / RATE / 4)
            yield image, None


def minute(recognizer: Recognizer, scenes: Scenes, share: float) -> int:
    """One stream to its end, and one whose source is lost and comes back; observations."""
    sink, count = JsonLinesSink(os.devnull), 0
    stamped = ((image, index / RATE) for index, image in enumerate(scenes.minute(share)))
    with recognizer.stream(stamped) as stream:
        for observation in stream:
            sink.write(observation)
            count += 1
    with recognizer.stream(Flaky(scenes), hop=0) as stream:
        for observation in stream:
            if observation.event == "restored":
                break
    sink.close()
    return count


def soak(recognizer: Recognizer, video: Path, minutes: int, share: float = 1.0, say: Any = print) -> list[Held]:
    """What the process held after each minute of video."""
    scenes, found = Scenes(video), []
    for number in range(1, minutes + 1):
        count = minute(recognizer, scenes, share)
        found.append(held(60.0 * number * share))
        last = found[-1]
        memory = f"{last.resident / 1e6:.1f} MB, {last.anonymous / 1e6:.1f} anonymous"
        text = f"{last.video_s / 60:6.1f} min of video: {memory}, {last.threads} threads, "
        say(f"{text}{last.descriptors} descriptors; {count} observations", flush=True)
    return found


def growth(found: list[Held]) -> dict[str, float]:
    """Of the last sixth over the second one: share of memory, threads and descriptors."""
    sixth = max(1, len(found) // 6)
    first, last = found[sixth : 2 * sixth], found[-sixth:]
    mean = {name: [float(np.mean([getattr(h, name) for h in part])) for part in (first, last)] for name in _HELD}
    return {
        **{name: mean[name][1] / mean[name][0] - 1 for name in ("resident", "anonymous")},
        **{name: mean[name][1] - mean[name][0] for name in ("threads", "descriptors")},
    }


_HELD = ("resident", "anonymous", "threads", "descriptors")


def is_flat(grown: dict[str, float]) -> bool:
    """Whether the bar is met."""
    return (
        max(grown["resident"], grown["anonymous"]) <= MOST_GROWTH
        and grown["threads"] <= 0
        and grown["descriptors"] <= 0
    )


def main() -> int:
    """0 if nothing grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--video", type=Path, default=_VIDEO)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    recognizer = Recognizer("slowr50_sa", "default", arguments.engine, arguments.precision, threads=arguments.threads)
    begin, processor = time.monotonic(), time.process_time()
    found = soak(recognizer, arguments.video, max(6, round(60 * arguments.hours)))
    grown = growth(found)
    print(json.dumps(grown))
    if arguments.out:
        info = recognizer.info()
        command = f"python -m bench.studies.soak {' '.join(sys.argv[1:])}"
        facts: dict[str, Any] = provenance.collect(range(os.cpu_count() or 1), command)
        facts |= {name: info[name] for name in ("model", "engine", "precision", "threads")}
        facts |= {"wall_s": time.monotonic() - begin, "processor_s": time.process_time() - processor}
        rows = [dataclasses.asdict(row) for row in found]
        document = {"provenance": facts, "grown": grown, "flat": is_flat(grown), "after_each_minute": rows}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if is_flat(grown) else 1


if __name__ == "__main__":
    raise SystemExit(main())
