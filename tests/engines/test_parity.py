"""Parity compares logits: parts of a network that give none are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfer_edge import InvalidInput
from dfer_edge.engines import load_engine
from dfer_edge.engines.parity import parity
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.export import onnx_file as export
from tests.engines.tensorrt_cases import small


def test_parts_without_logits_are_refused_and_heads_are_compared(tmp_path: Path) -> None:
    paths = {part: tmp_path / f"{part}.onnx" for part in ("features", "head")}
    for part, path in paths.items():
        export.write(small("smate"), path, "2d", part=part)
    features, head = (load_engine(path, "onnxruntime", threads=1) for path in paths.values())
    with features, head:
        for first, second in ((features, features), (features, head), (head, features)):
            with pytest.raises(InvalidInput, match=r"gives logits, got the .* part of smate"):
                parity(first, second, [gate_feed(first.input_shapes, 1)])
        assert parity(head, head, [gate_feed(head.input_shapes, 2)]).max_abs == 0
