"""Build ``dfer_edge._cuda`` with nvcc: `python csrc/build_cuda.py`, or `make cuda`. Needs no GPU.

A command of its own and not a part of setup.py: nine architectures take minutes, and a user of the wheel who happens
to have nvcc should not wait for them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
# Turing (RTX 20), A100, RTX 30, Orin, RTX 40, H100, B200, Thor, RTX 50. sm_72 (Xavier) ended with CUDA 12.
ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 110, 120)
FLAGS = ("-O3", "-std=c++17", "-Xcompiler", "-fPIC,-fvisibility=hidden", "-cudart", "static", "-I", str(CSRC))


def nvcc() -> str:
    """Path of the compiler.

    Raises
    ------
    SystemExit
        If there is none.
    """
    found = os.environ.get("NVCC") or shutil.which("nvcc")
    if not found:
        raise SystemExit("expected nvcc on the PATH, or its path in NVCC: without it there is no dfer_edge._cuda")
    return found


def supported(compiler: str) -> list[int]:
    """Architectures of :data:`ARCHITECTURES` that this nvcc knows."""
    listing = subprocess.run([compiler, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    known = {int(number) for number in re.findall(r"compute_(\d+)\b", listing)}
    return [arch for arch in ARCHITECTURES if arch in known]


def generate(architectures: list[int], ptx: bool = True) -> list[str]:
    """Options: machine code of each architecture, and PTX of the last for what comes after it."""
    options = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in architectures]
    return [*options, f"-gencode=arch=compute_{architectures[-1]},code=compute_{architectures[-1]}"] if ptx else options


def build(output: Path, architectures: list[int] | None = None, threads: int = 2) -> Path:
    """Compile and link; returns the module's path."""
    compiler = nvcc()
    chosen = architectures or supported(compiler)
    version = re.search(
        r"release ([\d.]+)", subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    )
    defines = [
        f'-DDFER_CUDA_VERSION="{version[1] if version else "unknown"}"',
        f'-DDFER_CUDA_ARCHITECTURES="{" ".join(map(str, chosen))}"',
    ]
    includes = ["-I", pybind11.get_include(), "-I", sysconfig.get_paths()["include"]]
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for source in [
            *sorted(CSRC.glob("*/*_cuda.cu")),
            *sorted(CSRC.glob("*/*_cubind.cpp")),
            CSRC / "module_cuda.cpp",
        ]:
            objects.append(str(Path(folder) / f"{source.stem}.o"))
            # Only kernels are compiled per architecture; bindings are plain host code.
            special = generate(chosen) if source.suffix == ".cu" else [*includes, *defines]
            call = [compiler, "-c", str(source), "-o", objects[-1], "-t", str(threads), *FLAGS, *special]
            print(f"nvcc {source.relative_to(ROOT)}", flush=True)
            subprocess.run(call, check=True)
        subprocess.run([compiler, "-shared", "-o", str(output), *objects, "-cudart", "static"], check=True)
    return output


def main() -> None:
    """Build into the checkout's package folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, nargs="+", help="e.g. 87 for Orin; default: all that nvcc knows")
    parser.add_argument("--threads", type=int, default=2, help="architectures compiled at a time")
    arguments = parser.parse_args()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    output = build(ROOT / "dfer_edge" / f"_cuda{suffix}", arguments.architectures, arguments.threads)
    print(f"wrote {output.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
