"""Convolutions fused with what follows them: the same values, and none left out that could be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dfer_edge.export.onnx_file import inference_weights
from dfer_edge.inference import record
from dfer_edge.inference.torch_fusion import fuse, fused
from dfer_edge.models.simplified import Simplified
from dfer_edge.weights import file as weights_files

# Convolutions that a ReLU follows, of the papers' graphs: all but the shortcuts of slowr50 (4), of the R(2+1)D (2) and
# of ResNet-18 (3), the second ones of R(2+1)D whose sum is in another layout (4), gates (3), attention over maps (3).
FUSED = {"slowr50_sa": 49, "r2plus1d_sta": 22, "keypoint_tsa": 17, "agfer": 16}


def network_of(name: str) -> tuple[Simplified, list[torch.Tensor]]:
    source = weights_files.random(name)
    source = dataclasses.replace(source, spec=dataclasses.replace(source.spec, size=32))
    graph, inputs, _ = record(source.spec, "2d")
    drawn = inference_weights(source, graph)
    weights = {key: torch.from_numpy(np.asarray(drawn[key], np.float32)) for key in graph.weights}
    chance = torch.Generator().manual_seed(1)
    feed = [
        torch.rand(2, *value.shape[1:], generator=chance) * (30 if value.name == "landmarks" else 1) for value in inputs
    ]
    return Simplified(source.spec, weights, "2d"), feed


@pytest.mark.parametrize("name", FUSED)
def test_networks_say_what_they_said(name: str) -> None:
    network, feed = network_of(name)
    traced = fuse(network, feed)
    with torch.no_grad():
        torch.testing.assert_close(traced(*feed), network(*feed), rtol=1e-5, atol=1e-5)
        # Traced on these values, run on others.
        other = [value.flip(0) for value in feed]
        torch.testing.assert_close(traced(*other), network(*other), rtol=1e-5, atol=1e-5)
    assert fused(traced) == FUSED[name]


def run(network, *inputs: torch.Tensor, expected: int) -> None:
    traced = fuse(network, inputs)
    torch.testing.assert_close(traced(*inputs), network(*inputs))
    assert fused(traced) == expected


def test_only_what_nobody_else_reads_is_fused() -> None:
    x, w, b = torch.randn(1, 3, 5, 5), torch.randn(3, 3, 3, 3), torch.randn(3)

    def conv(x: torch.Tensor, groups: int = 1) -> torch.Tensor:
        return torch.conv2d(x, w[:, : 3 // groups], b, padding=1, groups=groups)

    run(lambda x: torch.relu(conv(x)), x, expected=1)
    run(lambda x: torch.relu(conv(x) + x), x, expected=1)
    run(lambda x: torch.relu(x + conv(x)), x, expected=1)
    run(lambda x: torch.relu(conv(x).reshape(1, 3, 25).permute(0, 2, 1)), x, expected=1)
    # Read again, broadcast, added to itself, grouped, without a bias: as they were.
    run(lambda x: torch.relu(y := conv(x)) + y, x, expected=0)
    run(lambda x: torch.relu(conv(x) + x.mean()), x, expected=0)
    run(lambda x: torch.relu((y := conv(x)) + y), x, expected=0)
    run(lambda x: torch.relu(conv(x, 3)), x, expected=0)
    run(lambda x: torch.relu(torch.conv2d(x, w)), x, expected=0)
    run(lambda x: torch.relu(torch.add(x, conv(x), alpha=2)), x, expected=0)
