# ruff: noqa: N801, N802, N803, N815 - the names are the library's
"""A double of ``cuda.bindings.runtime``: memory with bounds, and streams that do nothing before they are waited for."""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from typing import Any

import numpy as np


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class Handle:
    """As ``cudaStream_t``: no int, but converts to one."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __int__(self) -> int:
        return self._value


OK = (cudaError_t.cudaSuccess,)
INVALID = (cudaError_t.cudaErrorInvalidValue,)


class FakeCuda:
    """Arguments, results and names as in cuda-python 12 and 13; device memory starts as NaN."""

    def __init__(self, name: str = "Simulated GPU", capability: str = "8.7", integrated: bool = False) -> None:
        self.name, self.capability, self.integrated = name, capability, integrated
        self.memory: dict[int, tuple[np.ndarray, str]] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.limit_bytes: int | None = None
        self.copies = 0

    def module(self) -> types.ModuleType:
        module = types.ModuleType("cuda.bindings.runtime")
        functions = {name: getattr(self, name) for name in dir(self) if name.startswith("cuda")}
        constants = {"cudaHostAllocDefault": 0, "cudaHostAllocMapped": 2, "cudaStreamNonBlocking": 1}
        vars(module).update(functions | constants | {"cudaError_t": cudaError_t, "cudaMemcpyKind": cudaMemcpyKind})
        return module

    # -- memory -------------------------------------------------------------------------------------------------------

    def _new(self, size: int, kind: str) -> tuple[Any, int | None]:
        if type(size) is not int or size <= 0:
            return cudaError_t.cudaErrorInvalidValue, None
        used = sum(len(array) for array, _ in self.memory.values())
        if self.limit_bytes is not None and used + size > self.limit_bytes:
            return cudaError_t.cudaErrorMemoryAllocation, None
        array = np.full(-(-size // 4), np.nan, np.float32).view(np.uint8)[:size]
        self.memory[array.ctypes.data] = array, kind
        return cudaError_t.cudaSuccess, array.ctypes.data

    def within(self, address: int, size: int, kinds: tuple[str, ...]) -> bool:
        return any(
            start <= address and address + size <= start + len(array)
            for start, (array, kind) in self.memory.items()
            if kind in kinds
        )

    def view(self, address: int, shape: tuple[int, ...]) -> np.ndarray:
        """float32 memory that the device may touch."""
        count = int(np.prod(shape))
        assert self.within(address, 4 * count, ("device", "mapped")), f"{address} is no memory of the device"
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)

    def cudaMalloc(self, size: int) -> tuple[Any, int | None]:
        return self._new(size, "device")

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, int | None]:
        return self._new(size, "mapped" if flags & 2 else "host")

    def cudaHostGetDevicePointer(self, pHost: int, flags: int) -> tuple[Any, int | None]:
        mapped = flags == 0 and self.memory.get(pHost, (None, ""))[1] == "mapped"
        return (cudaError_t.cudaSuccess, pHost) if mapped else (*INVALID, None)

    def cudaFree(self, devPtr: int) -> tuple[Any]:
        return self._drop(devPtr, ("device",))

    def cudaFreeHost(self, ptr: int) -> tuple[Any]:
        return self._drop(ptr, ("host", "mapped"))

    def _drop(self, address: int, kinds: tuple[str, ...]) -> tuple[Any]:
        if self.memory.get(address, (None, ""))[1] not in kinds:
            return INVALID
        del self.memory[address]
        return OK

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: int) -> tuple[Any]:
        up = kind is cudaMemcpyKind.cudaMemcpyHostToDevice
        sides = (("device",), ("host",)) if up else (("host",), ("device",))
        if not (self.within(dst, count, sides[0]) and self.within(src, count, sides[1]) and stream in self.streams):
            return INVALID
        self.copies += 1
        self.streams[stream].append(lambda: ctypes.memmove(dst, src, count))
        return OK

    # -- streams and device -------------------------------------------------------------------------------------------

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, Handle]:
        handle = 1000 + len(self.streams)
        self.streams[handle] = []
        assert flags == 1, "a stream that waits for the default stream"
        return cudaError_t.cudaSuccess, Handle(handle)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any]:
        if stream not in self.streams:
            return INVALID
        while self.streams[stream]:
            self.streams[stream].pop(0)()
        return OK

    def cudaStreamDestroy(self, stream: int) -> tuple[Any]:
        return INVALID if self.streams.pop(stream, None) is None else OK

    def cudaGetDevice(self) -> tuple[Any, int]:
        return cudaError_t.cudaSuccess, 0

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, Any]:
        major, minor = map(int, self.capability.split("."))
        name = self.name.encode().ljust(256, b"\0")
        properties = types.SimpleNamespace(name=name, major=major, minor=minor, integrated=int(self.integrated))
        return cudaError_t.cudaSuccess, properties

    def cudaGetErrorString(self, error: cudaError_t) -> tuple[Any, bytes]:
        return cudaError_t.cudaSuccess, cudaError_t(error).name.encode()
