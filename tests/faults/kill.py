"""SIGKILL while everything that is kept is written: what is read after it is the old or the new, whole.

``python -m tests.faults.kill --count 1000 --seed 0``: each case forks a process that writes a store again and again,
ends it at a random moment, reads what it left, writes once more and reads that.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.faults.writers import Absent, Writer, writers


def _in_child(work: object, *arguments: object) -> int:
    """Exit code of a forked process that calls ``work``; 1 for an exception, with its traceback."""
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)  # type: ignore[operator]
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _for_ever(writer: Writer, folder: Path) -> None:
    for version in range(2, 1 << 30):
        writer.write(folder, version % 9 + 1)


def _timed(writer: Writer, folder: Path, sender: int) -> None:
    for _ in range(2):
        begin = time.monotonic()
        writer.write(folder, 1)
        os.write(sender, f"{time.monotonic() - begin} ".encode())


def _check(writer: Writer, folder: Path) -> None:
    try:
        found = writer.read(folder)
    except Absent:
        found = 1
    assert 1 <= found <= 9, found
    writer.write(folder, 5)
    assert writer.read(folder) == 5, "what was left is in the way of what is written next"


def case(writer: Writer, folder: Path, delay_s: float) -> bool:
    """One kill after ``delay_s``; whether what it left is right."""
    child = os.fork()
    if child == 0:
        _for_ever(writer, folder)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, "the writer ended by itself"
    return _in_child(_check, writer, folder) == 0


def run(count: int, seed: int, names: list[str] | None = None) -> tuple[Counter[str], list[str]]:
    """Kills of each kind in turn; how many, and the cases that went wrong."""
    chance, kinds = random.Random(seed), writers(names)
    done: Counter[str] = Counter()
    wrong = []
    # In memory, where there is such a folder: what is flushed to a disk is as whole there, and does not wait.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        for kind, writer in kinds.items():
            folder = Path(name) / kind
            folder.mkdir()
            receiver, sender = os.pipe()
            assert _in_child(_timed, writer, folder, sender) == 0, f"{kind} does not write"
            # Each moment of two or three writes is as likely; the first one of a process is slower.
            longest_s = sum(float(second) for second in os.read(receiver, 100).split())
            os.close(receiver)
            os.close(sender)
            for number in range(count // len(kinds)):
                delay_s = chance.uniform(0, longest_s)
                if not case(writer, folder, delay_s):
                    wrong.append(f"{kind} {number}: killed after {1000 * delay_s:.2f} ms")
                done[kind] += 1
            left = sum(path.is_file() for path in folder.rglob("*"))
            assert left < 40, f"{kind}: {left} files, killed writers fill the disk"
    return done, wrong


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+")
    arguments = parser.parse_args()
    done, wrong = run(arguments.count, arguments.seed, arguments.only)
    print(f"seed {arguments.seed}, {sum(done.values())} kills: " + ", ".join(f"{k} {n}" for k, n in done.items()))
    print("\n".join(wrong) or "every store was whole, and was written again")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
