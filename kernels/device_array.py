"""Other libraries' arrays in the memory of a CUDA device (CuPy, PyCUDA, Numba, JAX), by what they say of themselves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput


@dataclasses.dataclass(frozen=True)
class DeviceArray:
    """An object with ``__cuda_array_interface__``.

    Attributes
    ----------
    owner
        The object, which keeps the memory alive.
    address, shape, dtype, steps
        Of its elements; ``steps`` are bytes from one index to the next on each axis.
    stream
        Handle of the CUDA stream that its producer writes it on: what reads it is launched there. 1, the default
        stream, if it names none.
    device_index
        Number of the device, as far as the object says it (CuPy does); else 0.
    writeable
        Whether results may go there.
    """

    owner: Any
    address: int
    shape: tuple[int, ...]
    dtype: str
    steps: tuple[int, ...]
    stream: int
    device_index: int
    writeable: bool

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        expected = [self.itemsize * math.prod(self.shape[axis + 1 :]) for axis in range(self.ndim)]
        return all(n == 1 or step == e for n, step, e in zip(self.shape, self.steps, expected, strict=True))

    @classmethod
    def of(cls, owner: Any) -> DeviceArray:
        """What ``owner`` says of itself.

        Raises
        ------
        InvalidInput
            For stream 0, which the interface forbids, and elements that are no plain numbers.
        """
        said: Mapping[str, Any] = owner.__cuda_array_interface__
        dtype, shape = np.dtype(said["typestr"]), tuple(map(int, said["shape"]))
        if dtype.kind not in "uif" or not dtype.isnative:
            raise InvalidInput(f"expected an array of plain numbers, got {said['typestr']}")
        stream = said.get("stream")
        if stream == 0:
            raise InvalidInput("expected a stream that the interface allows, got 0", "1 is the default stream")
        steps = said.get("strides") or [dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        address, read_only = said["data"]
        number = getattr(getattr(owner, "device", None), "id", 0)
        return cls(owner, int(address), shape, dtype.name, tuple(map(int, steps)), stream or 1, number, not read_only)


def adopt(value: Any) -> Any:
    """``value``, or what it says of itself if it is another library's array on a device; torch's stay torch's."""
    foreign = hasattr(value, "__cuda_array_interface__") and not hasattr(value, "data_ptr")
    return DeviceArray.of(value) if foreign else value


def original(value: Any) -> Any:
    """What :func:`adopt` was given."""
    return value.owner if isinstance(value, DeviceArray) else value
