"""Buffers and graphs by batch size, with a recorder in place of CUDA's; tests/gpu has the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dfer_edge.engines import load_engine, torch_capture
from dfer_edge.engines.base import EngineOptions
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.engines.torch_engine import TorchEngine
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.models.simplified import Simplified


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Outputs of what was captured. A replay computes into the same output, as a graph does."""
    outputs: list[torch.Tensor] = []

    def record(run: Callable[[], torch.Tensor], pool: object) -> tuple[torch.Tensor, Callable[[], None], object]:
        assert pool == ("the pool" if outputs else None), "graphs share the pool of the first"
        output = run().clone()
        output.fill_(torch.nan)  # capturing computes nothing
        outputs.append(output)

        def replay() -> None:
            output.copy_(run())

        return output, replay, "the pool"

    monkeypatch.setattr(torch_capture, "record", record)
    return outputs


def test_one_graph_a_shape_and_inputs_are_written_into_it(recorded: list[torch.Tensor]) -> None:
    calls: list[int] = []

    def network(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        calls.append(a.data_ptr())
        return (a + 2 * b).double()

    captured = torch_capture.CapturedNetwork(network, "cpu")
    for seed, rows in enumerate((1, 3, 1, 3, 7)):
        a, b = torch.randn(2, rows, 5, generator=torch.Generator().manual_seed(seed)).unbind()
        output = captured({"a": a, "b": b})
        torch.testing.assert_close(output, (a + 2 * b).double())
    assert len(recorded) == len(calls) == 3, "traced once a shape"


def test_graphs_are_bounded(recorded: list[torch.Tensor]) -> None:
    captured = torch_capture.CapturedNetwork(lambda a: a + 1, "cpu")
    for rows in (1, 2, 3, 4, 1, 5, 9, 2):
        assert captured({"a": torch.zeros(rows)}).tolist() == [1.0] * rows
    # Of 16 rows pushed out of 2, the least recently used, which was captured again; 3 and 4 share one.
    assert [len(output) for output in recorded] == [1, 2, 4, 8, 16, 2]


def test_matrix_products_are_exact_whatever_the_caller_asked_for() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with torch_capture._exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_engine_replays_on_cuda(
    recorded: list[torch.Tensor], clip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"precision": "fp32", "threads": 1, "kernels": "none"}
    with load_engine(clip_file, "torch", **one) as eager, load_engine(clip_file, "torch", **one) as engine:
        assert isinstance(engine, TorchEngine)
        feeds = [gate_feed(engine.input_shapes, rows, seed) for seed, rows in enumerate((1, 2, 1))]
        expected = [eager.infer(feed)["logits"] for feed in feeds]
        assert not recorded, "the CPU runs eager"
        # Tensors stay on the CPU: only the path through the captured network is that of a device.
        monkeypatch.setattr(engine, "options", EngineOptions("fp32", "cuda", 1))
        for feed, logits in zip(feeds, expected, strict=True):
            np.testing.assert_allclose(engine.infer(feed)["logits"], logits, atol=1e-6)
    assert len(recorded) == 2


def test_constants_are_uploaded_once(monkeypatch: pytest.MonkeyPatch, clip_file: Path) -> None:
    """A copy from the host within a capture is an error of CUDA."""
    with load_engine(clip_file, "torch", "fp32", threads=1) as engine:
        network: Simplified = engine._network
        feed = gate_feed(engine.input_shapes, 1)
        first = engine.infer(feed)["logits"]
        kept = dict(network._constants)
        assert kept
        monkeypatch.setattr(torch, "as_tensor", lambda *a, **k: pytest.fail("uploaded again"))
        np.testing.assert_array_equal(engine.infer(feed)["logits"], first)
        assert all(network._constants[key] is value for key, value in kept.items())


def test_equal_bytes_of_other_shape_or_dtype_are_other_constants() -> None:
    graph = TorchGraph({"any": torch.zeros(1)})
    values = (np.zeros(4, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.int32), np.float32(0), 0)
    made = [graph.constant(value) for value in values]
    assert [tuple(value.shape) for value in made] == [(4,), (2, 2), (4,), (), ()]
    assert [value.dtype for value in made] == [torch.float32, torch.float32, torch.int32, torch.float32, torch.int64]
