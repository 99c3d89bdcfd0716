"""The C++ loops without Python: csrc/selftest/OP.cpp, built for this machine or for aarch64 and run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# As setup.py compiles the module.
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Werror", "-pthread")
CSRC = ROOT / "csrc"


def run_selftest(op: str, folder: Path, machine: str = "native") -> str:
    """Build csrc/selftest/OP.cpp with csrc/OP/*_cpu.cpp, run it, return what it printed.

    ``machine`` is ``native`` or ``aarch64``: cross-compiled and run under qemu. Skips where a tool is missing.
    """
    compiler, runner = ("g++", []) if machine == "native" else ("aarch64-linux-gnu-g++", ["qemu-aarch64"])
    require(compiler, *runner)
    static = [] if machine == "native" else ["-static"]
    return _build_and_run(compiler, op, op, folder / f"{op}-{machine}", static, runner)


# Threads of a block are fibers on stacks of their own, which no frame outlives.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
SANITIZED = ("ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0", "UBSAN_OPTIONS=print_stacktrace=1")


def run_cuda_on_host(op: str, folder: Path, without: str = "", seed: int = 1, sanitize: bool = False) -> str:
    """The same for csrc/selftest/OP_cuda.cpp, which runs the kernels of csrc/OP/OP_cuda.cuh on the CPU.

    ``without``: ``FILE:N`` runs a mutant, without the Nth barrier of that file below csrc; failing is then a result.
    ``seed`` draws the order of warps and blocks. ``sanitize`` lets accesses out of bounds and undefined behaviour fail.
    """
    require("g++", "nvcc")
    listing = subprocess.run(["nvcc", "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False).stderr
    include = re.search(r"INCLUDES=.*?\"?-I(\S+?)\"? ", listing)
    if not include:
        pytest.skip("nvcc does not say where its headers are")
    # CUDA's markers mean nothing to g++, and an emulator is compiled for longer than it runs.
    options = ["-isystem", include[1], "-Wno-attributes", "-Wno-unknown-pragmas", "-Wno-maybe-uninitialized", "-O1"]
    if without:
        options = ["-I", str(_mutant(without, folder / "mutant")), "-w", *options]
    options += SANITIZERS if sanitize else ()
    runner = ["env", f"DFER_EMULATOR_SEED={seed}", *(SANITIZED if sanitize else ())]
    return _build_and_run("g++", f"{op}_cuda", op, folder / f"{op}-cuda", options, runner, bool(without))


def barriers(op: str) -> list[str]:
    """``FILE:N`` of every barrier in the CUDA sources of an operation."""
    files = [path for path in sorted((CSRC / op).iterdir()) if path.suffix in (".cuh", ".cu")]
    return [f"{op}/{path.name}:{n}" for path in files for n in range(path.read_text().count("__syncthreads();"))]


def _mutant(without: str, folder: Path) -> Path:
    """A copy of csrc, to be found first, in which one barrier is missing."""
    name, _, number = without.rpartition(":")
    shutil.copytree(CSRC, folder)
    parts = (folder / name).read_text().split("__syncthreads();")
    number_of = int(number) + 1
    text = "__syncthreads();".join(parts[:number_of]) + ";" + "__syncthreads();".join(parts[number_of:])
    (folder / name).write_text(text)
    return folder


def require(*tools: str) -> None:
    """Skip where a tool is missing."""
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"no {tool} on the PATH (Debian: g++-aarch64-linux-gnu, qemu-user; CUDA: nvcc)")


def _build_and_run(
    compiler: str, test: str, op: str, binary: Path, options: list[str], runner: list[str], may_fail: bool = False
) -> str:
    # Includes with quotes look beside the file first: a mutant is built from its own folder.
    root = Path(options[1]) if options[:1] == ["-I"] else CSRC
    sources = [root / "selftest" / f"{test}.cpp", *sorted((root / op).glob("*_cpu.cpp"))]
    command = [compiler, *FLAGS, *options, "-I", root, *sources, "-o", binary]
    build = subprocess.run(command, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    run = subprocess.run([*runner, binary], capture_output=True, text=True, check=False)
    assert may_fail or run.returncode == 0, run.stdout + run.stderr
    return run.stdout if run.returncode == 0 else "failed"
