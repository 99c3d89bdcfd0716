"""A disk that is full at the n-th write, for every n: each writer ends in a DferError, and what was there stays.

``python -m tests.faults.full_disk`` builds a library of a few lines, starts itself with it loaded before all others and
tries every kind of :mod:`tests.faults.writers` with room for 0, 1, 2 ... writes, until one has room enough.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from dfer_edge import DferError
from tests.faults.writers import Absent, Writer, writers

_SOURCE = Path(__file__).with_name("full_disk.c")
# More writes than any writer needs; of a longer one, a spread.
_MOST = 400


def build(folder: Path) -> Path | None:
    """The library that refuses writes, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    library = folder / "libfull.so"
    if compiler is None or sys.platform != "linux":
        return None
    subprocess.run([compiler, "-O1", "-fPIC", "-shared", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def _fill(writer: Writer, folder: Path, room: int) -> str:
    """Write with room for so many writes: ``written``, ``refused``, or what went wrong."""
    left = ctypes.c_long.in_dll(ctypes.CDLL(None), "dfer_writes_left")
    left.value = room
    try:
        writer.write(folder, 2)
        ended = "written"
    except DferError as error:
        ended = "refused" if error.message and "\n" not in error.message else f"a message in lines: {error}"
    except BaseException as error:
        ended = f"{type(error).__name__}: {error} at {traceback.extract_tb(error.__traceback__)[-1][:2]}"
    left.value = -1
    try:
        found = writer.read(folder)
    except Absent:
        found = 1 if ended == "refused" else 0
    except BaseException as error:
        return f"{ended}, then {type(error).__name__}: {error}"
    if ended == "written" and found != 2:
        return f"written, and version {found} is read"
    return ended if found in (1, 2) else f"{ended}, and version {found} is read"


def _in_child(writer: Writer, folder: Path, room: int) -> str:
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(sender, _fill(writer, folder, room).encode()[:4000])
        os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    said = os.read(receiver, 4096).decode()
    os.close(receiver)
    return said or "ended without a word"


def run(names: list[str] | None = None) -> tuple[dict[str, int], list[str]]:
    """Refusals of each kind, and what went wrong; in a process that has the library loaded."""
    refusals: dict[str, int] = {}
    wrong = []
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    for kind, writer in writers(names).items():
        refusals[kind], room = 0, 0
        while room < _MOST:
            with tempfile.TemporaryDirectory(dir=memory) as name:
                folder = Path(name)
                if (first := _in_child_plain(writer, folder)) != "written":
                    wrong.append(f"{kind}: {first} with room")
                    break
                said = _in_child(writer, folder, room)
            if said == "written":
                break
            refusals[kind] += 1
            if said != "refused":
                wrong.append(f"{kind}, room for {room} writes: {said}")
            room += 1 + room // 20
    return refusals, wrong


def _in_child_plain(writer: Writer, folder: Path) -> str:
    status = os.fork()
    if status == 0:
        try:
            writer.write(folder, 1)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return "written" if os.waitstatus_to_exitcode(os.waitpid(status, 0)[1]) == 0 else "failed"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+")
    arguments = parser.parse_args()
    if not hasattr(ctypes.CDLL(None), "dfer_writes_left"):
        with tempfile.TemporaryDirectory() as folder:
            library = build(Path(folder))
            if library is None:
                print("no C compiler, or no Linux: nothing was tried")
                return 0
            command = [sys.executable, "-m", "tests.faults.full_disk", *sys.argv[1:]]
            return subprocess.run(command, env={**os.environ, "LD_PRELOAD": str(library)}).returncode
    refusals, wrong = run(arguments.only)
    print("full at every write: " + ", ".join(f"{kind} {count}" for kind, count in refusals.items()))
    print("\n".join(wrong) or "each ended in a DferError, and what was there stayed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
