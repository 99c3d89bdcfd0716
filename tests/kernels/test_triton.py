"""Triton kernels without a GPU: values under the interpreter, machine code ahead of time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

INTERPRETED = Path(__file__).parent / "interpreted"


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_values_under_the_interpreter(which: str) -> None:
    """In a process of their own: the interpreter is chosen when Triton is imported."""
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which, str(INTERPRETED)],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert " passed" in run.stdout


def test_what_a_grid_cannot_count_is_declined() -> None:
    """More than 65535 blocks of pixels."""
    pytest.importorskip("triton")
    from dfer_edge.kernels.attention_gate import triton_impl as gate
    from dfer_edge.kernels.clip_to_tensor import triton_impl as crop

    for side, declined in ((2896, False), (2897, True)):
        pixels = np.broadcast_to(np.uint8(0), (1, 1, side, side, 3))
        assert bool(crop.declines(None, None, None, False, pixels)) == declined
        planes = np.broadcast_to(np.float32(0), (1, 3, 1, side, side))
        assert bool(crop.declines(None, None, ([0.0] * 3, [1.0] * 3), False, planes)) == declined
        assert bool(gate.declines(np.broadcast_to(np.float32(0), (1, 1, side, side)))) == declined
