"""3x3 convolutions by Winograd are convolutions, and run where they are said to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dfer_edge import _cpu  # noqa: E402
from dfer_edge.engines import load_engine  # noqa: E402
from dfer_edge.engines.tensorrt.gate import gate_feed  # noqa: E402
from dfer_edge.export import onnx_file as export  # noqa: E402
from dfer_edge.inference.torch_winograd import Winograd, fits, pack  # noqa: E402
from dfer_edge.weights import file as weights  # noqa: E402

ONES = (1, 1)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("side", [(4, 4), (7, 6), (13, 9)])
def test_it_is_the_convolution(side: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x, weight, bias = drawn(8, 64, *side), drawn(128, 64, 3, 3, seed=1) / 24, drawn(128, seed=2)
    winograd = Winograd()
    assert winograd.takes(x, weight, ONES, ONES)
    exact = torch.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    for layout in (torch.channels_last, torch.contiguous_format):
        found = winograd(x.contiguous(memory_format=layout), weight, bias)
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)


def test_a_nan_is_seen_in_the_tiles_that_read_it() -> None:
    x = torch.zeros(1, 64, 12, 12)
    x[0, 3, 0, 0] = torch.nan
    found = Winograd()(x, drawn(64, 64, 3, 3), drawn(64))
    assert found[..., :2, :2].isnan().all()
    assert not found[..., 4:, 4:].isnan().any()


def test_what_it_does_not_take() -> None:
    x, weight, winograd = drawn(8, 64, 8, 8), drawn(64, 64, 3, 3), Winograd()
    assert not winograd.takes(x.bfloat16(), weight.bfloat16(), ONES, ONES)
    assert not winograd.takes(x, weight, (2, 2), ONES)
    assert not winograd.takes(x, weight, ONES, (0, 0))
    assert not winograd.takes(x[:1, :, :4, :4], weight, ONES, ONES), "one tile: reading its weights costs more"
    for shape in ((64, 64, 1, 1), (64, 64, 5, 5), (64, 3, 3, 3), (45, 64, 3, 3), (64, 64, 3, 1, 1)):
        assert not fits(shape)
    assert fits((64, 64, 1, 3, 3))


def test_packed_weights_are_rounded_once() -> None:
    weight = drawn(64, 64, 3, 3)
    packed = pack(weight)
    # At 0 and infinity the polynomial is its first and last coefficient: a sixteenth of it, and itself.
    np.testing.assert_array_equal(packed[0, 0].numpy(), weight[..., 0, 0].T.numpy() / 16)
    np.testing.assert_array_equal(packed[35, 0].numpy(), weight[..., 2, 2].T.numpy())


def test_sizes_that_would_be_read_out_of_bounds_are_refused() -> None:
    def run(channels: int = 64, outputs: int = 64, room: int | None = None, cells: int = 16) -> None:
        x = np.zeros((1, 4, 4, channels), np.float32)
        packed, bias = np.zeros(36 * 64 * 64, np.float32), np.zeros(outputs, np.float32)
        scratch = np.zeros(_cpu.winograd_scratch(64, 64, 1) if room is None else room, np.float32)
        _cpu.winograd(x, packed, bias, np.zeros((1, cells, outputs), np.float32), scratch, 1)

    run()
    for wrong in ({"channels": 60}, {"outputs": 128}, {"outputs": 65}, {"room": 10}, {"cells": 15}):
        with pytest.raises(ValueError, match=r"blocks of 64|weights|scratch|out"):
            run(**wrong)


def test_a_network_runs_it_on_the_cpu_in_fp32_alone(tmp_path: Path) -> None:
    source = weights.random("slowr50")
    source = dataclasses.replace(source, spec=dataclasses.replace(source.spec, size=64, frames=2))
    path = tmp_path / "net.onnx"
    export.write(source, path, "2d", external=True)
    with (
        load_engine(path, "torch", "fp32", "cpu", 1) as auto,
        load_engine(path, "torch", "fp32", "cpu", 1, "none") as plain,
    ):
        assert auto.info()["kernels"] == ["winograd"]
        assert plain.info()["kernels"] == []
        feed = gate_feed(auto.input_shapes, 2, 3)
        a, b = (engine.infer(feed)["logits"] for engine in (auto, plain))
        # Other roundings: equal to the last bit would mean that it did not run.
        assert 0 < np.abs(a - b).max() <= 1e-4
        np.testing.assert_array_equal(auto.infer(feed)["logits"], a)
