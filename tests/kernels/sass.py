"""The machine code that nvcc makes of a CUDA kernel: instructions, calls, and how many wide loads are under way."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kernels.nvcc import builder


@dataclasses.dataclass(frozen=True)
class Code:
    """One ``__global__`` function; ``loads_together`` is the longest run of 16-byte loads before one is used."""

    name: str
    instructions: int
    calls: int
    loads_together: int


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


_LINE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]*)([^;]*);")
# Where a warp waits or leaves the straight line.
_ENDS = ("STS", "STG", "BRA", "CALL", "BAR", "SHFL", "EXIT")


def _code(block: str) -> Code:
    lines = [(op, arguments) for op, arguments in _LINE.findall(block) if op != "NOP"]
    calls = sum(op.startswith("CALL") for op, _ in lines)
    return Code(block.split("\n", 1)[0].strip(), len(lines), calls, _together(lines))


def _together(lines: list[tuple[str, str]]) -> int:
    longest, waiting = 0, set[str]()
    for op, arguments in lines:
        if op.startswith("LDG") and ".128" in op:
            waiting.add(arguments.split(",")[0].strip())
            longest = max(longest, len(waiting))
        elif op.startswith(_ENDS) or any(re.search(rf"\b{register}\b", arguments) for register in waiting):
            waiting.clear()
    return longest
