"""The counter by which the last block of a launch knows that it is the last."""

from __future__ import annotations

import functools

import torch


def counter(device: torch.device) -> torch.Tensor:
    """int32 [1], zero between launches: each launch leaves it as it found it.

    Launches of one stream follow each other and share one. A CUDA graph gets its own, zeroed in the graph: its replays
    may run beside other work of the stream that captured it.
    """
    if device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return torch.zeros(1, dtype=torch.int32, device=device)
    return _of_stream(device, torch.cuda.current_stream(device).cuda_stream)


@functools.lru_cache(maxsize=64)
def _of_stream(device: torch.device, _: int) -> torch.Tensor:
    return torch.zeros(1, dtype=torch.int32, device=device)
