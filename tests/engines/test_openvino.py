"""What OpenVINO does to the process around it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfer_edge.engines import reasons
from tests.calibration import tiny

ROOT = Path(__file__).resolve().parents[2]

# The older of two engines goes first: the order that left the thread without a signal stack.
_TWO_ENGINES = """
import gc, signal, sys
from dfer_edge.engines import load_engine, precision_reasons
older = load_engine(sys.argv[1], "openvino", "fp32", threads=1)
newer = load_engine(sys.argv[1], "openvino", "fp32", threads=1)
precision_reasons("openvino")
for engine in (older, newer):
    engine.__exit__(None, None, None)
del older, newer, engine
gc.collect()
signal.signal(signal.SIGTERM, lambda *arguments: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signal stacks are POSIX's")
def test_a_signal_is_handled_after_engines_have_gone(tmp_path: Path) -> None:
    if reason := reasons("openvino"):
        pytest.skip(reason)
    path = tiny.network(tmp_path / "tiny.onnx")
    command = [sys.executable, "-c", _TWO_ENGINES, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
