"""Mutated files over every reader: each ends in a result or a DferError, in time and within memory.

``python -m tests.faults.fuzz --count 10000 --seed 0`` prints what it found and keeps the inputs of failures. Readers
run in a child of their own, so that a crash of native code is a finding and not the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np

from dfer_edge import DferError
from tests.faults import media
from tests.videos import marked, write_container

# Of processor time, so that a busy machine finds nothing; and as long for what waits and never works.
LIMIT_S, _SILENCE_S = 20, 300
# Of address space above what is there already: pictures of 16384x16384 need half of it.
LIMIT_BYTES = 4 << 30
_BATCH = 250

Reader = Callable[[Path], object]


@dataclasses.dataclass(frozen=True)
class Finding:
    """An input that ended otherwise than it may: what happened, and the file."""

    name: str
    number: int
    what: str
    path: Path


def _frames(path: Path) -> object:
    from dfer_edge.sources.opening import open_source

    return sum(frame.image[0, 0, 0] >= 0 for frame in open_source(path))


def _weights(path: Path) -> object:
    from dfer_edge.weights import file as weights

    return weights.load(path)


def _onnx(path: Path) -> object:
    from dfer_edge.faces.landmark_networks import load_network

    return load_network(path, threads=1)


def _ranges(path: Path) -> object:
    from dfer_edge.calibration.table import RangeTable

    return RangeTable.load(path)


def _labels(path: Path) -> object:
    from dfer_edge.evaluation.data import read

    return read(path, ("happy", "sad", "neutral"))


def _results(path: Path) -> object:
    from dfer_edge.bench.report.results import read

    return read(path)


def seeds(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """Small valid files of every kind, and who reads them."""
    from PIL import Image

    from dfer_edge.faces.landmarks import SHIPPED
    from dfer_edge.weights import file as weights

    found: dict[str, tuple[Path, Reader]] = {}
    for suffix in ("mp4", "mkv", "webm", "avi", "gif", "mov"):
        path = folder / f"v.{suffix}"
        found[suffix] = (
            media.write_h264(path, media.moving(12)) if suffix in ("mp4", "mkv") else write_container(path),
            _frames,
        )
    pictures = [Image.fromarray(marked(k)) for k in range(3)]
    exif = Image.Exif()
    exif[274] = 6
    for suffix in ("png", "jpg", "webp", "tif", "bmp", "avif"):
        options: dict[str, Any] = {} if suffix == "bmp" else {"exif": exif}
        if suffix in ("webp", "tif"):
            options |= {"save_all": True, "append_images": pictures[1:]}
        pictures[0].save(folder / f"p.{suffix}", **options)
        found[suffix] = (folder / f"p.{suffix}", _frames)
    small: dict[str, np.ndarray] = {"a": np.arange(40, dtype=np.float32).reshape(5, 8), "b": np.zeros(3, np.float16)}
    source = dataclasses.replace(weights.random("slowr50"), state=small)
    found["safetensors"] = (weights.write(folder / "w.safetensors", source), _weights)
    found["onnx"] = (Path(shutil.copy(SHIPPED, folder / "n.onnx")), _onnx)
    ranges = next(iter(sorted(weights.SHIPPED.glob("*.ranges.json"))), None)
    if ranges is not None:
        found["ranges"] = (Path(shutil.copy(ranges, folder / "r.json")), _ranges)
    results = sorted((Path(__file__).parents[2] / "bench" / "results").rglob("*.jsonl"))
    if results:
        found["results"] = (Path(shutil.copy(results[0], folder / "results.jsonl")), _results)
    cv2.imwrite(str(folder / "x.png"), marked(0))
    (folder / "labels.csv").write_text("path,label\nx.png,happy\nx.png,sad\nx.png,2\n")
    found["csv"] = (folder / "labels.csv", _labels)
    return found


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with bytes changed, cut, doubled, removed or swapped, numbers made extreme; headers more often."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        end = min(len(data), 512) if rng.random() < 0.6 else len(data)
        if end < 8:
            return bytes(data)
        at, size = int(rng.integers(0, end - 4)), int(rng.integers(1, 64))
        match int(rng.integers(0, 7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data[at : at + size] = rng.bytes(min(size, len(data) - at))
            case 2:
                data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x01"])
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size]
            case 5:
                del data[at if rng.random() < 0.3 else len(data) - size :]
            case _:
                data[at : at + size] = bytes(min(size, len(data) - at))
    return bytes(data)


def _expired(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {LIMIT_S} s of processor time")


def _work(sender: Any, folder: Path, seed: int, numbers: range) -> None:
    """In the child: read one input after the other; says which one before it begins, and how it ended."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    signal.signal(signal.SIGPROF, _expired)
    present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (present + LIMIT_BYTES,) * 2)
    kinds = seeds(folder)
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        name = sorted(kinds)[int(rng.integers(0, len(kinds)))]
        source, reader = kinds[name]
        path = folder / f"in-{name}{source.suffix}"
        path.write_bytes(mutated(source.read_bytes(), rng))
        sender.send((number, name, "begins"))
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        try:
            reader(path)
            ended = "read"
        except DferError:
            ended = "refused"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            ended = f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        sender.send((number, name, ended))


def run(count: int, seed: int, keep: Path) -> tuple[Counter[str], list[Finding]]:
    """Read ``count`` mutated inputs; how they ended, and what may not be. Inputs of findings go to ``keep``."""
    ends: Counter[str] = Counter()
    findings: list[Finding] = []
    start = 0
    while start < count:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
            numbers = range(start, min(start + _BATCH, count))
            child = multiprocessing.get_context("fork").Process(target=_work, args=(sender, folder, seed, numbers))
            child.start()
            sender.close()
            last = (start, "seeds", "begins")
            try:
                while receiver.poll(_SILENCE_S):
                    last = receiver.recv()
                    if last[2] != "begins":
                        ends[last[2] if last[2] in ("read", "refused") else "wrong"] += 1
                    if last[2] not in ("begins", "read", "refused"):
                        findings.append(_kept(last, keep, folder))
                else:
                    child.kill()
            except EOFError:
                pass
            child.join()
            if last[2] == "begins":
                ends["crash"] += 1
                findings.append(_kept((last[0], last[1], f"the process ended with {child.exitcode}"), keep, folder))
            start = last[0] + 1
    return ends, findings


def _kept(found: tuple[int, str, str], keep: Path, folder: Path) -> Finding:
    keep.mkdir(parents=True, exist_ok=True)
    number, name, what = found
    source = next(iter(folder.glob(f"in-{name}.*")), None)
    path = keep / f"{number}-{name}{source.suffix if source else ''}"
    if source is not None:
        shutil.copy(source, path)
    return Finding(name, number, what, path)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    arguments = parser.parse_args()
    ends, findings = run(arguments.count, arguments.seed, arguments.keep)
    print(f"seed {arguments.seed}, {arguments.count} inputs: " + ", ".join(f"{end} {n}" for end, n in ends.items()))
    for finding in findings:
        print(f"{finding.number} {finding.name}: {finding.what[:200]} ({finding.path})")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
