"""CUDA graphs of a network: one for each power of two of rows, so that a call costs one launch instead of hundreds.

Batches are padded: a capture in the middle of a stream costs more than the rows that a few people lack. Built, not yet
run on hardware.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from dfer_edge.inference.torch_fusion import fuse

Tensor = torch.Tensor
Shapes = tuple[tuple[int, ...], ...]

# Each graph keeps the activations of its batch size: as many as a stream of a few people needs.
_MOST_GRAPHS = 4
# cuDNN tries its algorithms in the first runs; nothing may be tried while recording.
_WARM_UPS = 3


@dataclasses.dataclass(frozen=True)
class _Capture:
    # Pinned, so that the upload is a copy by the device itself; on the CPU the inputs themselves.
    staging: dict[str, Tensor]
    inputs: dict[str, Tensor]
    output: Tensor
    replay: Callable[[], None]


class CapturedNetwork:
    """Replays a network on buffers of its own; the least recently used batch size is forgotten.

    Parameters
    ----------
    network
        Takes tensors on the device in the order of the feed, as the caller gives them; returns one.
    device
        Where it runs.
    """

    def __init__(self, network: Callable[..., Tensor], device: str) -> None:
        self._network, self._device = network, device
        self._captures: OrderedDict[Shapes, _Capture] = OrderedDict()
        # One pool of memory for the activations of all graphs, which run in turns.
        self._pool: Any = None

    def __call__(self, feed: Mapping[str, Tensor]) -> Tensor:
        """The output for tensors of the host or of the device, whose rows do not see each other.

        It is on the device; the next call overwrites it.
        """
        rows = len(next(iter(feed.values())))
        padded = 1 << (rows - 1).bit_length()
        shapes = tuple((padded, *value.shape[1:]) for value in feed.values())
        capture = self._captures.get(shapes)
        if capture is None:
            capture = self._captures[shapes] = self._capture(feed, padded)
            if len(self._captures) > _MOST_GRAPHS:
                self._captures.popitem(last=False)
        self._captures.move_to_end(shapes)
        # The device may still read what was staged for a call whose output nobody has fetched.
        self._finish()
        for name, value in feed.items():
            source = value
            if value.device.type == "cpu":
                source = capture.staging[name][:rows].copy_(value)
            # Types and layout are converted within the graph.
            capture.inputs[name][:rows].copy_(source, non_blocking=True)
        capture.replay()
        return capture.output[:rows]

    def _capture(self, feed: Mapping[str, Tensor], padded: int) -> _Capture:
        on_gpu = self._device == "cuda"
        shapes = {name: ((padded, *value.shape[1:]), value.dtype) for name, value in feed.items()}
        staging = {
            name: torch.zeros(shape, dtype=dtype, pin_memory=on_gpu and torch.cuda.is_available())
            for name, (shape, dtype) in shapes.items()
        }
        inputs = {name: value.to(self._device, copy=True) for name, value in staging.items()}
        network = fuse(self._network, list(inputs.values()))
        output, replay, self._pool = record(lambda: network(*inputs.values()), self._pool)
        return _Capture(staging, inputs, output, replay)

    def _finish(self) -> None:
        if self._device == "cuda" and torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()


def record(run: Callable[[], Tensor], pool: Any) -> tuple[Tensor, Callable[[], None], Any]:
    """Capture ``run`` into a CUDA graph: its output, what computes it again from the same inputs, and its memory pool.

    ``pool`` is that of another graph, which does not run meanwhile, or None.
    """
    # fp32 means fp32, in convolutions and in matrix products: tensor cores would round to 10 bits.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False), _exact_products():
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            output = run()
    return output, graph.replay, pool if pool is not None else graph.pool()


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """Matrix products in full fp32, whatever the caller's own torch code asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
