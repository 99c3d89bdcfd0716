"""3x3 convolutions of fp32 networks on the CPU by Winograd's F(4x4, 3x3): 36 products for 144.

Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks* (2016). Equal to rounding: its error is some twenty
times that of the plain sum, 5e-6 of the largest output of a layer, and 1e-5 in the logits of our networks. oneDNN has
no such form on x86-64. The loops are csrc/winograd.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from dfer_edge import _cpu

Tensor = torch.Tensor

WINOGRAD = "winograd"
"""What the engine calls it among its kernels."""
BLOCK = 64
"""Channels and outputs are multiples of it."""
_OUT = 4
# Rows of G: the kernel as a polynomial at 0, 1, -1, 2, -2 and infinity, scaled as the loops expect.
_TO_POINTS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
# Measured down to it at one thread (docs/speed.md); each thread reads all weights, 36 for 9.
_LEAST_TILES = 4


def pack(weight: Tensor) -> Tensor:
    """Weights [K, C, 3, 3] as the loops read them: [36, K / 64, C, 64], rounded once from float64."""
    outputs, channels = weight.shape[:2]
    points = np.empty((36, outputs // BLOCK, channels, BLOCK), np.float32)
    for block in range(outputs // BLOCK):
        rows: npt.NDArray[np.float64] = weight[block * BLOCK : (block + 1) * BLOCK].double().numpy()
        made = np.einsum("ia,kcab,jb->ijck", _TO_POINTS, rows, _TO_POINTS, optimize=True)
        points[:, block] = made.reshape(36, channels, BLOCK)
    return torch.from_numpy(points)


def fits(shape: Sequence[int]) -> bool:
    """Whether the loops take weights of ``shape``, which may have unit axes: a kernel 3x3, blocks of channels."""
    # [K, C, 3, 3], or [K, C, 1, 3, 3] of a clip.
    spatial = tuple(shape[2:]) in ((3, 3), (1, 3, 3))
    return spatial and not shape[0] % BLOCK and not shape[1] % BLOCK


class Winograd:
    """Convolutions of one network, with packed weights of its own, four times as large as the plain ones.

    They are kept by the address of the plain ones, and these with them: no other weights come to lie there. For one
    thread at a time.
    """

    def __init__(self) -> None:
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}
        self._scratch = torch.empty(0)

    def takes(self, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> bool:
        """Whether :meth:`__call__` computes this convolution."""
        if x.ndim != 4 or x.dtype != torch.float32 or {*stride, *padding} != {1}:
            return False
        tiles = x.shape[0] * -(-x.shape[2] // _OUT) * -(-x.shape[3] // _OUT)
        return fits(weight.shape) and tiles >= _LEAST_TILES * torch.get_num_threads()

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``conv2d(x, weight, bias, padding=1)``, channels-last, on all threads of torch."""
        key, threads = weight.data_ptr(), torch.get_num_threads()
        if key not in self._packed:
            self._packed[key] = weight, pack(weight)
        outputs, channels = weight.shape[:2]
        room = _cpu.winograd_scratch(channels, outputs, threads)
        if len(self._scratch) < room:
            self._scratch = torch.empty(room)
        rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        out = x.new_empty((*rows.shape[:3], outputs))
        packed, scratch = self._packed[key][1].numpy(), self._scratch.numpy()
        _cpu.winograd(rows.numpy(), packed, bias.numpy(), out.numpy(), scratch, threads)
        return out.permute(0, 3, 1, 2)
