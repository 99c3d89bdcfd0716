"""CUDA graphs of a network: one for each batch size, so that a call costs one launch instead of hundreds.

Built, not yet run on hardware.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping

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
        """The output for host tensors of ``feed``; it is overwritten by the next call."""
        shapes = tuple(tuple(value.shape) for value in feed.values())
        capture = self._captures.get(shapes)
        if capture is None:
            capture = self._captures[shapes] = self._capture(feed)
            if len(self._captures) > _MOST_GRAPHS:
                self._captures.popitem(last=False)
        self._captures.move_to_end(shapes)
        for name, value in feed.items():
            # Converts and uploads in one step, into the memory that the graph reads.
            capture.inputs[name].copy_(value)
        capture.replay()
        return capture.output

    def _capture(self, feed: Mapping[str, Tensor]) -> _Capture:
        inputs = {name: self._place(name, value).clone() for name, value in feed.items()}
        output, replay = record(lambda: self._network(*inputs.values()))
        return _Capture(inputs, output, replay)


def record(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Capture ``run`` into a CUDA graph: its output, and what computes it again from the same inputs."""
    # fp32 means fp32: cuDNN would round its products to 10 bits.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
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
