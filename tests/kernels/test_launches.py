"""What the CUDA backends hand to a launch, without a GPU: memory that is still theirs when the launch comes."""

from __future__ import annotations

import importlib
import sys
import weakref
from types import ModuleType
from typing import Any

import pytest
import torch

import dfer_edge
from dfer_edge.kernels import arrays
from dfer_edge.kernels.attention_gate.rules import SHAPES
from dfer_edge.kernels.token_attention import Folded


class Launches:
    """Stands for ``dfer_edge._cuda``: asks at each launch what of the backend's own memory is still held."""

    def __init__(self) -> None:
        self.own: list[tuple[weakref.ref[Any], int]] = []
        self.held: list[list[bool]] = []

    def new(self, array: Any) -> Any:
        self.own.append((weakref.ref(array), arrays.pointer(array)))
        return array

    def launch(self, *arguments: Any) -> None:
        given = {value for value in arguments if isinstance(value, int)}
        self.held.append([reference() is not None for reference, address in self.own if address in given])

    token_attention = attention_gate = launch

    def attention_gate_scratch(self, shape: tuple[int, ...]) -> int:
        return 1000


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    from dfer_edge.kernels.token_attention import workspace

    fake = Launches()
    monkeypatch.setitem(sys.modules, "dfer_edge._cuda", fake)
    monkeypatch.setattr(dfer_edge, "_cuda", fake, raising=False)
    for op in ("token_attention", "attention_gate"):
        module = backend(op)
        monkeypatch.setattr(module, "empty", lambda *wanted: fake.new(arrays.empty(*wanted)))
        monkeypatch.setattr(module, "stream", lambda array: 0)
    counter = workspace.counter
    monkeypatch.setattr(workspace, "counter", lambda device: fake.new(counter(device)))
    return fake


def backend(op: str) -> ModuleType:
    return importlib.import_module(f"dfer_edge.kernels.{op}.cuda_impl")


def test_token_attention_holds_its_hidden_layer_and_counter(launches: Launches) -> None:
    x, out = torch.zeros(3, 5), torch.zeros(3, 2)
    weights = Folded(torch.zeros(4, 5), torch.zeros(4), torch.zeros(2, 4), torch.zeros(2))
    backend("token_attention").run(x, weights, False, out)
    assert launches.held == [[True, True]]


def test_attention_gate_holds_its_scratch(launches: Launches) -> None:
    sizes = {"C": 4, "R": 2, "Q": 2, "M": 2}
    weights = [torch.zeros([sizes.get(side, side) for side in shape]) for shape in SHAPES["agfer"].values()]
    x = torch.zeros(1, 4, 6, 6)
    backend("attention_gate").run(x, "agfer", weights, True, torch.zeros(1, 4, 3, 3))
    assert launches.held == [[True]]
