"""Every promise of every kernel: a rival's time divided by ours is at least its bar."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dfer_edge.bench.cases.kernels import OURS, case_module, copy_of
from dfer_edge.kernels.dispatch import OPERATIONS

# How near the floor an operation came on the slowest machine measured, less a fifth: a loop that stops being
# vectorised loses far more.
SHARE_OF_FLOOR = {"lbp": 0.12, "clip_to_tensor": 0.045, "attention_gate": 0.1, "landmark_pool": 0.025}
PROMISES = [(op, name) for op in OPERATIONS for name in case_module(op).BARS]


@pytest.mark.parametrize(("op", "rival"), PROMISES)
def test_promise(op: str, rival: str, ratio: Callable[..., float]) -> None:
    case = case_module(op)
    calls = case.cases()
    if isinstance(calls[rival], str):
        pytest.skip(calls[rival])
    case.check()
    assert 1 / ratio(calls[OURS], calls[rival]) >= case.BARS[rival].at_least


@pytest.mark.parametrize("op", list(SHARE_OF_FLOOR))
def test_distance_from_the_floor(op: str, ratio: Callable[..., float]) -> None:
    case = case_module(op)
    assert 1 / ratio(case.cases()[OURS], copy_of(case.MOVED_BYTES)) >= SHARE_OF_FLOOR[op]
