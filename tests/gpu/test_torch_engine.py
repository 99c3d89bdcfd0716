"""Torch on CUDA: captured graphs say what eager torch on the CPU says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfer_edge.engines import load_engine
from dfer_edge.engines.parity import parity
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.export.onnx_file import export_onnx
from dfer_edge.models import list_models

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 5e-2}


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", list_models())
def test_captured_networks_agree_with_the_cpu(name: str, precision: str, tmp_path: Path) -> None:
    path = export_onnx(name, tmp_path / "network.onnx", weights="random", form="2d")
    with (
        load_engine(path, "torch", precision, device="cuda") as captured,
        load_engine(path, "onnxruntime", "fp32") as reference,
    ):
        # Twice each batch size: captured, then replayed on other values.
        feeds = [gate_feed(captured.input_shapes, rows, seed) for seed, rows in enumerate((1, 2, 1, 2))]
        assert parity(reference, captured, feeds).max_abs <= TOLERANCE[precision]


def test_results_belong_to_the_caller(tmp_path: Path) -> None:
    path = export_onnx("slowr50", tmp_path / "network.onnx", weights="random", form="2d")
    with load_engine(path, "torch", "fp16", device="cuda") as engine:
        first = engine.infer(gate_feed(engine.input_shapes, 1, 0))["logits"]
        kept = first.copy()
        engine.infer(gate_feed(engine.input_shapes, 1, 1))
        np.testing.assert_array_equal(first, kept)
