"""CUDA graphs of a network: one for each power of two of rows, so that a call costs one launch instead of hundreds.

Batches are padded: a capture in the middle of a stream costs more than the rows that a few people lack. Built, not yet
run on hardware.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

import torch

Tensor = torch.Tensor
Shapes = tuple[tuple[int, ...], ...]

# Each graph keeps the activations of its batch size: as many as a stream of a few people needs.
_MOST_GRAPHS = 4
# cuDNN tries its algorithms in the first runs; nothing may be tried while recording.
_WARM_UPS = 3


@dataclasses.dataclass(frozen=True)
class _Capture:
    inputs: dict[str, Tensor]
    output: Tensor
    replay: Callable[[], None]


class CapturedNetwork:
    """Replays a network on buffers of its own; the least recently used batch size is forgotten.

    Parameters
    ----------
    network
        Takes tensors in the order of the feed, returns one.
    place
        Makes the buffer of a named input from its first host tensor: device, dtype, memory format.
    """

    def __init__(self, network: Callable[..., Tensor], place: Callable[[str, Tensor], Tensor]) -> None:
        self._network, self._place = network, place
        self._captures: OrderedDict[Shapes, _Capture] = OrderedDict()

    def __call__(self, feed: Mapping[str, Tensor]) -> Tensor:
        """The output for host tensors of ``feed``, whose rows do not see each other; the next call overwrites it."""
        rows = len(next(iter(feed.values())))
        padded = 1 << (rows - 1).bit_length()
        shapes = tuple((padded, *value.shape[1:]) for value in feed.values())
        capture = self._captures.get(shapes)
        if capture is None:
            capture = self._captures[shapes] = self._capture(feed, padded)
            if len(self._captures) > _MOST_GRAPHS:
                self._captures.popitem(last=False)
        self._captures.move_to_end(shapes)
        for name, value in feed.items():
            # Converts and uploads in one step, into the memory that the graph reads.
            capture.inputs[name][:rows].copy_(value)
        capture.replay()
        return capture.output[:rows]

    def _capture(self, feed: Mapping[str, Tensor], padded: int) -> _Capture:
        zeros = {name: value.new_zeros((padded, *value.shape[1:])) for name, value in feed.items()}
        inputs = {name: self._place(name, value).clone() for name, value in zeros.items()}
        output, replay = record(lambda: self._network(*inputs.values()))
        return _Capture(inputs, output, replay)


def record(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Capture ``run`` into a CUDA graph: its output, and what computes it again from the same inputs."""
    # fp32 means fp32, in convolutions and in matrix products: tensor cores would round to 10 bits.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False), _exact_products():
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()
    return output, graph.replay


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """Matrix products in full fp32, whatever the caller's own torch code asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
