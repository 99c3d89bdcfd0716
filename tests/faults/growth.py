"""Many predictions leave no memory, no threads and no descriptors behind.

``python -m tests.faults.growth --count 500`` prints what a process of each engine holds after fifty predictions of a
video with a face, after half of so many more, and after all.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from dfer_edge import Recognizer
from dfer_edge.engines import reasons
from dfer_edge.sinks.video import VideoSink
from dfer_edge.sources.opening import open_source

ENGINES = ("openvino", "onnxruntime", "torch")
# Caches, arenas and pools of threads fill up during these; and a step of some 11 MiB comes once during
# the first half of the others: probably garbage that waits for Python's collector, whose memory malloc keeps.
_FIRST = 50
_MOST = 0.01
_VIDEO = Path(__file__).parents[1] / "assets" / "astronaut.mp4"


class Held(NamedTuple):
    """What this process holds."""

    resident: int
    threads: int
    descriptors: int

    @classmethod
    def now(cls) -> Held:
        """After all that nobody needs is freed."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        threads, descriptors = (len(list(Path(f"/proc/self/{what}").iterdir())) for what in ("task", "fd"))
        return cls(pages * resource.getpagesize(), threads, descriptors)


def measure(engine: Any, count: int) -> tuple[Held, Held, Held]:
    """Before, amid and after ``count`` predictions in this process: decoding, faces, landmarks, network."""
    recognizer = Recognizer("slowr50_sa", engine=engine, precision="fp32", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        # A clip of the network's length: what is done once a prediction counts, not once a frame.
        path = Path(folder) / "v.mp4"
        with VideoSink(path, 25) as sink:
            for frame in itertools.islice(open_source(_VIDEO), 8):
                sink.write(frame.image)
        for _ in range(_FIRST):
            assert recognizer.predict(path).box is not None
        held = [Held.now()]
        for _ in range(2):
            for _ in range(count // 2):
                recognizer.predict(path)
            held.append(Held.now())
        return held[0], held[1], held[2]


def grown(before: Held, after: Held) -> str:
    """What grew, empty for nothing: memory by up to 1 % is noise of allocators."""
    if after[1:] != before[1:]:
        return f"threads and descriptors {before[1:]} became {after[1:]}"
    more = after.resident - before.resident
    return f"{more >> 10} KiB more resident than {before.resident >> 10}" if more > _MOST * before.resident else ""


def _report(engine: str, count: int) -> None:
    held = measure(engine, count)
    memory = "resident " + " -> ".join(f"{one.resident / 2**20:.1f}" for one in held) + " MiB"
    others = ", ".join(f"{name} " + " -> ".join(str(getattr(one, name)) for one in held) for name in Held._fields[1:])
    wrong = grown(held[0]._replace(resident=held[1].resident), held[2])
    print(f"{engine}, {count} predictions: {memory}, {others}{': ' + wrong if wrong else ''}", flush=True)
    sys.exit(bool(wrong))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--engine", nargs="+", default=list(ENGINES), choices=ENGINES)
    arguments = parser.parse_args()
    failed = 0
    for engine in arguments.engine:
        if reason := reasons(engine):
            print(f"{engine} is not here: {reason}")
            continue
        # What one engine holds is not counted as another's.
        process = multiprocessing.get_context("spawn").Process(target=_report, args=(engine, arguments.count))
        process.start()
        process.join()
        failed += process.exitcode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
