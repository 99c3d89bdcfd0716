"""Features of steps in device memory: a stream computes them once and reads them in every window that has them.

Built, not yet run on hardware.
"""

from __future__ import annotations

from dfer_edge.engines.cuda_memory import Cuda, Scratch

# Of one block of memory: a few people's windows.
_SLOTS_A_BLOCK = 32
_ALIGNMENT = 256


class Slot:
    """Memory for one step's features; given back when nobody refers to it any more."""

    def __init__(self, store: FeatureStore, address: int) -> None:
        self._store, self.address = store, address

    def __del__(self) -> None:
        self._store._give_back(self.address)


class FeatureStore:
    """Slots of one size; what is given back is handed out again, so that a stream's memory does not grow with time.

    Parameters
    ----------
    cuda
        The device.
    size
        Bytes of one step's features.
    """

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda, self.size = cuda, size
        self._step = -(-size // _ALIGNMENT) * _ALIGNMENT
        self._blocks: list[Scratch] = []
        self._free: list[int] = []

    def take(self) -> Slot:
        """A slot that nobody has.

        Raises
        ------
        EngineUnavailable
            If the device has no memory left.
        """
        # One thread takes at a time, since an engine's calls take turns; any thread gives back, by one append.
        if not self._free:
            block = self._cuda.allocate_scratch(self._step * _SLOTS_A_BLOCK)
            self._blocks.append(block)
            self._free += [block.address + index * self._step for index in range(_SLOTS_A_BLOCK)]
        return Slot(self, self._free.pop())

    def _give_back(self, address: int) -> None:
        self._free.append(address)

    def close(self) -> None:
        """Free the memory; nothing may be under way on it. Slots that are still held are worth nothing."""
        blocks, self._blocks, self._free = self._blocks, [], []
        for block in blocks:
            self._cuda.free_scratch(block)
