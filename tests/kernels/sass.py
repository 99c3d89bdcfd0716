"""The machine code that nvcc makes of a CUDA kernel: instructions, calls, and how many wide loads are under way."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kernels.nvcc import builder


@dataclasses.dataclass(frozen=True)
class Loop:
    """Instructions from where a branch goes back to up to that branch, by number."""

    begin: int
    end: int
    ops: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.ops)

    def count(self, op: str) -> int:
        return sum(one.startswith(op) for one in self.ops)

    def holds(self, others: Iterable[Loop]) -> list[Loop]:
        """Loops within this one."""
        return [one for one in others if one is not self and self.begin <= one.begin and one.end <= self.end]


@dataclasses.dataclass(frozen=True)
class Code:
    """One ``__global__`` function; ``loads_together`` is the longest run of 16-byte loads before one is used."""

    name: str
    instructions: int
    calls: int
    loads_together: int
    loops: tuple[Loop, ...]


def codes(op: str, folder: Path, architecture: int = 87) -> list[Code]:
    """Compile csrc/OP/OP_cuda.cu with the flags of the build and read it; skips where a tool is missing."""
    tool = disassembler()
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc on the PATH")
    build, target = builder(), folder / f"{op}.o"
    options = [*build.FLAGS, *build.generate([architecture], ptx=False)]
    source = ROOT / "csrc" / op / f"{op}_cuda.cu"
    run = subprocess.run(
        ["nvcc", "-c", str(source), "-o", str(target), *options], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    listing = subprocess.run([tool, "-sass", str(target)], capture_output=True, text=True, check=True).stdout
    return [_code(block) for block in re.split(r"\n\s*Function : ", listing)[1:]]


@cache
def disassembler() -> str:
    """cuobjdump of CUDA, or the one in triton's wheel."""
    if found := shutil.which("cuobjdump"):
        return found
    triton = pytest.importorskip("triton", reason="no cuobjdump: neither CUDA's nor triton's")
    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]*)([^;]*);")
# Where a warp waits or leaves the straight line.
_ENDS = ("STS", "STG", "BRA", "CALL", "BAR", "SHFL", "EXIT")


def _code(block: str) -> Code:
    found = [(int(at, 16), op, arguments) for at, op, arguments in _LINE.findall(block) if op != "NOP"]
    lines = [(op, arguments) for _, op, arguments in found]
    calls = sum(op.startswith("CALL") for op, _ in lines)
    # What saves barriers in front of a kernel is jumped over, but where a debugger asks.
    executed = sum(not op.startswith("BMOV") for op, _ in lines)
    return Code(block.split("\n", 1)[0].strip(), executed, calls, _together(lines), tuple(_loops(found)))


def _loops(found: list[tuple[int, str, str]]) -> Iterable[Loop]:
    """By branches that go back, but for the one in which a kernel ends."""
    numbers = {at: number for number, (at, _, _) in enumerate(found)}
    for end, (at, op, arguments) in enumerate(found):
        target = re.search(r"0x([0-9a-f]+)", arguments)
        if op.startswith("BRA") and target and int(target[1], 16) < at:
            begin = numbers[int(target[1], 16)]
            yield Loop(begin, end, tuple(one for _, one, _ in found[begin : end + 1]))


def _together(lines: list[tuple[str, str]]) -> int:
    longest, waiting = 0, set[str]()
    for op, arguments in lines:
        if op.startswith("LDG") and ".128" in op:
            waiting.add(arguments.split(",")[0].strip())
            longest = max(longest, len(waiting))
        elif op.startswith(_ENDS) or any(re.search(rf"\b{register}\b", arguments) for register in waiting):
            waiting.clear()
    return longest
