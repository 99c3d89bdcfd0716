"""What nvcc says of the CUDA kernels: registers and spills of each, for each architecture."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One ``__global__`` function as compiled for one architecture; bytes of spills, registers a thread."""

    name: str
    arch: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


@cache
def builder() -> ModuleType:
    """csrc/build_cuda.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("build_cuda", ROOT / "csrc" / "build_cuda.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resources(op: str, folder: Path, architectures: list[int] | None = None) -> list[Kernel]:
    """Compile csrc/OP/OP_cuda.cu with the flags of the build; skips where there is no nvcc."""
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc on the PATH")
    build = builder()
    chosen = architectures or build.supported("nvcc")
    source = ROOT / "csrc" / op / f"{op}_cuda.cu"
    options = [*build.FLAGS, *build.generate(chosen, ptx=False), "-Xptxas", "-v"]
    call = ["nvcc", "-c", str(source), "-o", str(folder / f"{op}.o"), "-t", "2", *options]
    run = subprocess.run(call, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = [
        Kernel(name, int(arch), int(registers), *map(int, (stack, stores, loads)))
        for name, arch, stack, stores, loads, registers in _REPORT.findall(run.stderr + run.stdout)
    ]
    assert {kernel.arch for kernel in found} == set(chosen), run.stderr
    return found


_REPORT = re.compile(
    r"Compiling entry function '(\S+)' for 'sm_(\d+)\w*'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)
