"""The native code without Python, without a GPU and without an Arm board."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kernels.nvcc import resources
from tests.kernels.selftest import CSRC, barriers, run_cuda_on_host, run_selftest

SELFTESTS = sorted(path.stem for path in (CSRC / "selftest").glob("*.cpp") if not path.stem.endswith("_cuda"))
ON_HOST = sorted(path.stem.removesuffix("_cuda") for path in (CSRC / "selftest").glob("*_cuda.cpp"))
CUDA = sorted(path.parent.name for path in CSRC.glob("*/*_cuda.cu"))
# Registers of the hungriest kernel of an operation: what keeps two blocks of 256 threads on a multiprocessor.
REGISTERS = 128
# Of others: what lets six blocks of 128 threads run on one.
FEWER_REGISTERS = {"landmark_pool": 80}


@pytest.mark.parametrize("machine", ["native", "aarch64"])
@pytest.mark.parametrize("op", SELFTESTS)
def test_loops_are_the_definition(op: str, machine: str, tmp_path: Path) -> None:
    assert re.search(r"[1-9]\d* checks, 0 failures", run_selftest(op, tmp_path, machine))


@pytest.mark.parametrize("op", ON_HOST)
def test_cuda_arithmetic_on_the_host(op: str, tmp_path: Path) -> None:
    assert re.search(r"[1-9]\d* checks, 0 failures", run_cuda_on_host(op, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("op", ON_HOST)
def test_cuda_kernels_stay_within_their_memory(op: str, tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer on the emulator: bounds, shifts and alignment of all accesses."""
    assert re.search(r"[1-9]\d* checks, 0 failures", run_cuda_on_host(op, tmp_path, sanitize=True))


# Between the blocks of a launch, which run one after another here: no order of threads shows that it is missing.
UNSEEN = frozenset({"token_attention/token_attention_cuda.cuh:2"})
WITH_BARRIERS = ("attention_gate", "clip_to_tensor", "landmark_pool", "token_attention")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("without", [one for op in WITH_BARRIERS for one in barriers(op)])
def test_a_barrier_that_is_missing_is_seen(without: str, tmp_path: Path) -> None:
    """The emulator's schedule is hostile enough that no barrier can be taken away unnoticed, but for those named."""
    seen = any(
        run_cuda_on_host(without.partition("/")[0], tmp_path / str(seed), without, seed) == "failed"
        for seed in (1, 2, 3)
    )
    assert seen or without in UNSEEN


# Nine architectures take minutes on a busy machine.
SLOW = [pytest.mark.slow, pytest.mark.timeout(3600)]
# For one it takes seconds each: the two that compile fastest, which are those that run in every pipeline.
FAST = ("clip_to_tensor", "token_attention")


@pytest.mark.parametrize(
    ("op", "architectures"),
    [pytest.param(op, [87], id=f"{op}-orin", marks=[] if op in FAST else SLOW) for op in CUDA]
    + [pytest.param(op, None, id=f"{op}-all", marks=SLOW) for op in CUDA],
)
def test_cuda_kernels_spill_nothing(op: str, architectures: list[int] | None, tmp_path: Path) -> None:
    """For every architecture that the build makes; by default for one."""
    kernels = resources(op, tmp_path, architectures)
    assert not [kernel for kernel in kernels if kernel.spill_stores or kernel.spill_loads]
    assert not [kernel for kernel in kernels if kernel.registers > FEWER_REGISTERS.get(op, REGISTERS)]


def test_every_operation_of_the_gpu_module_is_bound_and_tested() -> None:
    bound = set(re.findall(r"^  bind_(\w+)\(m\)", (CSRC / "module_cuda.cpp").read_text(), re.MULTILINE))
    assert bound == set(CUDA)
    assert set(CUDA) <= set(SELFTESTS)


def test_loops_have_no_instruction_sets_of_one_processor() -> None:
    """Vectors come from the compiler; anything else would break aarch64."""
    for path in (*CSRC.rglob("*.h"), *CSRC.rglob("*.cpp")):
        assert not re.search(r"immintrin|arm_neon|_mm\d*_|march=native", path.read_text()), path


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_gpu_module_builds_and_says_why_it_cannot_run(tmp_path: Path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc on the PATH")
    code = (
        "import importlib.util as u, pathlib, sys; sys.path.insert(0, 'csrc'); import build_cuda; "
        f"path = build_cuda.build(pathlib.Path({str(tmp_path / '_cuda.so')!r}), [87]); "
        "spec = u.spec_from_file_location('_cuda', path); m = u.module_from_spec(spec); spec.loader.exec_module(m); "
        "print(m.build_info(), '|', m.unavailable())"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "for sm_87" in run.stdout
