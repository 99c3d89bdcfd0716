"""The ordered list of backends: who runs, who declines and why, and that nothing falls back when forced."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from dfer_edge import DferError, InvalidInput, kernels
from dfer_edge.errors import EngineUnavailable
from dfer_edge.kernels import dispatch
from tests.conftest import ROOT

FRAMES = np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7)


def chosen() -> str:
    return dispatch.choose("lbp", FRAMES).__name__.rpartition(".")[2]


def test_reasons_come_in_the_order_of_preference() -> None:
    reasons = kernels.backends("lbp")
    assert list(reasons) == ["cuda", "triton", "cpu", "reference"]
    assert reasons["cpu"] == ""
    assert reasons["reference"] == ""


def test_unknown_names() -> None:
    with pytest.raises(InvalidInput, match="lbp, landmark_pool"):
        kernels.backends("conv")
    with pytest.raises(InvalidInput, match="cuda, triton, cpu, reference"), kernels.use_backend("metal"):
        pass
    with pytest.raises(InvalidInput, match="at least one thread"), kernels.use_threads(0):
        pass


def test_host_arrays_run_on_the_cpu_loops() -> None:
    assert chosen() == "cpu_impl"


def test_forced_backends_nest_and_end() -> None:
    with kernels.use_backend("reference"):
        assert chosen() == "reference"
        with kernels.use_backend("cpu"):
            assert chosen() == "cpu_impl"
        with kernels.use_backend(None):
            assert chosen() == "cpu_impl"
        assert chosen() == "reference"
    with pytest.raises(KeyError), kernels.use_backend("reference"):
        raise KeyError
    assert chosen() == "cpu_impl"


@pytest.mark.parametrize("name", ["cuda", "triton"])
def test_a_forced_backend_never_falls_back(name: str) -> None:
    with kernels.use_backend(name), pytest.raises(EngineUnavailable, match=f"{name}: the arrays are in host memory"):
        kernels.lbp(FRAMES)


def test_the_error_lists_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "unavailable", lambda op, name: f"no {name} today")
    with pytest.raises(DferError) as caught:
        kernels.lbp(FRAMES)
    for reason in ("cuda: the arrays", "triton: the arrays", "cpu: no cpu today", "reference: no reference today"):
        assert reason in str(caught.value)


def test_a_missing_native_module_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    find = dispatch.importlib.util.find_spec
    monkeypatch.setattr(dispatch.importlib.util, "find_spec", lambda name: None if "_cpu" in name else find(name))
    dispatch._cpu.cache_clear()
    try:
        assert "not built" in kernels.backends("lbp")["cpu"]
        assert chosen() == "reference"
    finally:
        dispatch._cpu.cache_clear()


def test_the_choice_holds_for_one_thread() -> None:
    seen = []
    with kernels.use_backend("reference"):
        other = threading.Thread(target=lambda: seen.append(chosen()))
        other.start()
        other.join()
    assert seen == ["cpu_impl"]


def test_threads_are_passed_on() -> None:
    assert dispatch.threads() == 1
    with kernels.use_threads(3):
        assert dispatch.threads() == 3
    assert dispatch.threads() == 1


def test_importing_and_numpy_calls_bring_in_nothing_heavy() -> None:
    code = (
        "import sys, numpy as np; from dfer_edge import kernels; heavy = {'torch', 'triton', 'cv2', 'dfer_edge._cpu'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); kernels.lbp(np.zeros((1, 4, 4), np.uint8)); "
        "assert heavy & set(sys.modules) == {'dfer_edge._cpu'}, heavy & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
