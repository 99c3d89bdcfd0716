"""Arithmetic of what the CUDA kernels should take."""

from __future__ import annotations

import pytest

from dfer_edge.bench.cases import kernel_estimates
from dfer_edge.bench.cases.kernel_estimates import Board, estimate


def test_a_kernel_takes_as_long_as_bytes_or_instructions() -> None:
    board = Board(bytes_per_s=1e9, cores=1000, clock_hz=1e6)
    found = estimate(2e6, 1e6, board)
    assert (found.bytes_ms, found.instructions_ms) == (pytest.approx(2), pytest.approx(1))
    assert found.share_of_floor == 1
    assert estimate(2e6, 4e6, board).share_of_floor == pytest.approx(0.5)


def test_the_table_has_every_board(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # The others' cases draw weights.
    monkeypatch.setattr(kernel_estimates, "OPERATIONS", ("clip_to_tensor", "lbp"))
    kernel_estimates.main()
    said = capsys.readouterr().out
    for op in kernel_estimates.OPERATIONS:
        assert f"{op}: " in said
    for board in kernel_estimates.BOARDS:
        assert said.count(f"  {board} ") == len(kernel_estimates.OPERATIONS)
