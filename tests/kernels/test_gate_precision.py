"""The gate's planes in Triton: convolutions in full float32, whatever the caller's torch code asked for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")


def test_tensor_cores_round_no_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    from dfer_edge.kernels.attention_gate import triton_impl

    asked: list[bool] = []
    real = torch.nn.functional.conv2d

    def conv2d(*arguments: object, **named: object) -> object:
        asked.append(torch.backends.cudnn.allow_tf32)
        return real(*arguments, **named)

    monkeypatch.setattr(triton_impl.functional, "conv2d", conv2d)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        plane = triton_impl._conv(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), torch.zeros(1), 1)
        assert torch.backends.cudnn.allow_tf32, "the caller's own wish was changed"
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert asked == [False]
    assert plane[0, 0, 1, 1] == 9
