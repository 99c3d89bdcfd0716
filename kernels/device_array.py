"""Other libraries' arrays in the memory of a CUDA device, by what they say of themselves.

CuPy, PyCUDA and Numba by ``__cuda_array_interface__``; JAX, decoders and others by DLPack.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfer_edge.errors import InvalidInput


@dataclasses.dataclass(frozen=True)
class DeviceArray:
    """An object with ``__cuda_array_interface__`` or ``__dlpack__``.

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
    lease
        Of DLPack: what gives the memory back to its producer when it goes.
    """

    owner: Any
    address: int
    shape: tuple[int, ...]
    dtype: str
    steps: tuple[int, ...]
    stream: int
    device_index: int
    writeable: bool
    lease: Any = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

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

    @classmethod
    def of_dlpack(cls, owner: Any, device_index: int) -> DeviceArray:
        """What ``owner`` lends by DLPack, written by the time that the default stream comes to it.

        Raises
        ------
        InvalidInput
            For elements that are no plain numbers.
        """
        # 1 is the legacy default stream: the producer lets it wait for what it has under way.
        lease = owner.__dlpack__(stream=_DEFAULT_STREAM)
        lent = _Lent.from_address(_pointer(lease, b"dltensor"))
        kind = _DLPACK_KINDS.get(lent.kind)
        if kind is None or lent.lanes != 1:
            raise InvalidInput(f"expected an array of plain numbers, got DLPack's type {lent.kind} x {lent.lanes}")
        shape, size = tuple(lent.shape[: lent.ndim]), lent.bits // 8
        packed = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        steps = tuple(size * step for step in (lent.strides[: lent.ndim] if lent.strides else packed))
        address = (lent.data or 0) + lent.byte_offset
        return cls(owner, address, shape, f"{kind}{lent.bits}", steps, _DEFAULT_STREAM, device_index, True, lease)


_DEFAULT_STREAM = 1
# kDLCUDA, kDLCUDAManaged: memory that kernels read.
_DLPACK_DEVICES = (2, 13)
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat"}
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class _Lent(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("kind", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def adopt(value: Any) -> Any:
    """``value``, or what it says of itself if it is another library's array on a device; torch's stay torch's."""
    if hasattr(value, "data_ptr") or isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__cuda_array_interface__"):
        return DeviceArray.of(value)
    if hasattr(value, "__dlpack_device__"):
        kind, number = value.__dlpack_device__()
        return DeviceArray.of_dlpack(value, int(number)) if int(kind) in _DLPACK_DEVICES else value
    return value


def leading(array: Any) -> Any:
    """``array[None]``."""
    if not isinstance(array, DeviceArray):
        return array[None]
    step = array.itemsize * math.prod(array.shape)
    return dataclasses.replace(array, shape=(1, *array.shape), steps=(step, *array.steps))


def original(value: Any) -> Any:
    """What :func:`adopt` was given."""
    return value.owner if isinstance(value, DeviceArray) else value
