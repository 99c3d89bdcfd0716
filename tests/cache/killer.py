"""Kills builders of cache entries at random moments and looks at what they leave; run by tests/cache/test_cache.py.

A process of its own, without threads, so that it can fork: a round costs milliseconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from dfer_edge.cache import store as cache

KEYS = [cache.Key("networks", "small", {"n": str(n)}) for n in range(3)]
CHUNKS = 40
CHUNK = 4096


def content(key: cache.Key, file: str) -> bytes:
    return (f"{key.name}|{file}|".encode() * CHUNK)[:CHUNK] * CHUNKS


def build(key: cache.Key, folder: Path) -> None:
    for file in ("model.onnx", "model.onnx.data"):
        whole = content(key, file)
        with (folder / file).open("wb") as out:
            for start in range(0, len(whole), CHUNK):
                out.write(whole[start : start + CHUNK])
                out.flush()


def work() -> None:
    """Build and replace entries for ever."""
    for turn in range(1 << 30):
        key = KEYS[turn % len(KEYS)]
        (cache.put if turn % 2 else cache.obtain)(key, lambda folder, key=key: build(key, folder))


def whole(key: cache.Key, folder: Path) -> bool:
    return all((folder / file).read_bytes() == content(key, file) for file in ("model.onnx", "model.onnx.data"))


def main(rounds: int) -> int:
    chance, seen, longest_s = random.Random(0), Counter(), 0.02
    for turn in range(10 * rounds):
        few = min(seen["scratch"], seen["present"]) < 10
        if turn >= rounds and not few:
            break
        if turn % 50 == 49 and few:
            longest_s *= 2  # a busy machine has not begun to build by then
        child = os.fork()
        if child == 0:
            work()
        time.sleep(chance.uniform(0, longest_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen["scratch"] += any((cache.settings.cache_folder() / "networks").glob("scratch-*"))
        broken = [(entry.name, entry.problem()) for entry in cache.entries() if entry.problem()]
        assert not broken, broken
        for key in KEYS:
            found = cache.find(key)
            seen["absent" if found is None else "present"] += 1
            assert found is None or whole(key, found), f"{key.name} is loadable and not what was built"
    for key in KEYS:
        assert whole(key, cache.obtain(key, lambda folder, key=key: build(key, folder)))
    print(dict(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
