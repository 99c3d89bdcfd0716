# ruff: noqa: N801, N802, N803, N815 - the names are the library's
"""A double of ``cuda.bindings.runtime``: memory with bounds, and streams that do nothing before they are waited for.

Events order streams; what is enqueued on a stream that is being captured goes into the graph. Two streams that use one
resource at a time, without an event between, fail when the second one runs.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import itertools
import types
from collections.abc import Callable
from typing import Any

import numpy as np


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDefault = 4


class Handle:
    """As ``cudaStream_t``: no int, but converts to one."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __int__(self) -> int:
        return self._value


@dataclasses.dataclass(frozen=True)
class Work:
    """Something enqueued; ``uses`` are resources that no other stream may be using meanwhile."""

    run: Callable[[], None]
    uses: frozenset[object]
    number: int


class RaceError(AssertionError):
    """Two streams use one resource without an event between them."""


OK = (cudaError_t.cudaSuccess,)
INVALID = (cudaError_t.cudaErrorInvalidValue,)


class FakeCuda:
    """Arguments, results and names as in cuda-python 12 and 13; device memory starts as NaN."""

    def __init__(self, name: str = "Simulated GPU", capability: str = "8.7", integrated: bool = False) -> None:
        self.name, self.capability, self.integrated = name, capability, integrated
        self.memory: dict[int, tuple[np.ndarray, str]] = {}
        self.streams: dict[int, list[Work]] = {}
        self.events: dict[int, tuple[int, int] | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.capturing: dict[int, list[Work]] = {}
        self.total_bytes = 8 << 30
        self.no_capture = False
        self.launched = 0
        self._handles, self._numbers = itertools.count(1000), itertools.count()
        self.limit_bytes: int | None = None
        self.copies = 0

    def module(self) -> types.ModuleType:
        module = types.ModuleType("cuda.bindings.runtime")
        functions = {name: getattr(self, name) for name in dir(self) if name.startswith("cuda")}
        constants = {
            "cudaHostAllocDefault": 0,
            "cudaHostAllocMapped": 2,
            "cudaStreamNonBlocking": 1,
            "cudaEventDisableTiming": 2,
        }
        enums = {kind.__name__: kind for kind in (cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode)}
        vars(module).update(functions | constants | enums)
        return module

    def push(self, stream: int, run: Callable[[], None], uses: frozenset[object] = frozenset()) -> None:
        """Enqueue, or record while the stream is being captured."""
        target = self.capturing.get(stream, self.streams[stream])
        target.append(Work(run, uses, next(self._numbers)))

    def _run(self, stream: int, until: int | None = None) -> None:
        """Do what was enqueued, up to a number."""
        queue = self.streams[stream]
        while queue and (until is None or queue[0].number < until):
            work = queue.pop(0)
            for other, waiting in self.streams.items():
                if other != stream and any(w.number < work.number and w.uses & work.uses for w in waiting):
                    raise RaceError(f"streams {other} and {stream} use {work.uses} at a time")
            work.run()

    # -- memory -------------------------------------------------------------------------------------------------------

    def _new(self, size: int, kind: str) -> tuple[Any, int | None]:
        if type(size) is not int or size <= 0:
            return cudaError_t.cudaErrorInvalidValue, None
        used = sum(len(array) for array, _ in self.memory.values())
        if self.limit_bytes is not None and used + size > self.limit_bytes:
            return cudaError_t.cudaErrorMemoryAllocation, None
        if self.capturing:
            return cudaError_t.cudaErrorStreamCaptureUnsupported, None
        # Aligned to 256 bytes, as the library promises.
        whole = np.full(-(-size // 4) + 64, np.nan, np.float32).view(np.uint8)
        array = whole[-whole.ctypes.data % 256 :][:size]
        self.memory[array.ctypes.data] = array, kind
        return cudaError_t.cudaSuccess, array.ctypes.data

    def within(self, address: int, size: int, kinds: tuple[str, ...]) -> bool:
        return any(
            start <= address and address + size <= start + len(array)
            for start, (array, kind) in self.memory.items()
            if kind in kinds
        )

    def view(self, address: int, shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> np.ndarray:
        """Memory that the device may touch."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert self.within(address, size, ("device", "mapped")), f"{address} is no memory of the device"
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)

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
        on_device = (("device", "mapped"),) * 2
        up = kind is cudaMemcpyKind.cudaMemcpyHostToDevice
        sides = (("device",), ("host",)) if up else (("host",), ("device",))
        if kind is cudaMemcpyKind.cudaMemcpyDefault:
            sides = on_device
        if not (self.within(dst, count, sides[0]) and self.within(src, count, sides[1]) and stream in self.streams):
            return INVALID

        def copy() -> None:
            assert self.within(dst, count, sides[0]), "a copy into memory that was given back"
            assert self.within(src, count, sides[1]), "a copy from memory that was given back"
            self.copies += sides is not on_device
            ctypes.memmove(dst, src, count)

        self.push(stream, copy)
        return OK

    # -- streams and device -------------------------------------------------------------------------------------------

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, Handle]:
        handle = next(self._handles)
        self.streams[handle] = []
        assert flags == 1, "a stream that waits for the default stream"
        return cudaError_t.cudaSuccess, Handle(handle)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any]:
        if stream in self.capturing:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        if stream not in self.streams:
            return INVALID
        self._run(stream)
        return OK

    def cudaStreamDestroy(self, stream: int) -> tuple[Any]:
        """What is enqueued is still done: here at once."""
        if stream not in self.streams:
            return INVALID
        self._run(stream)
        del self.streams[stream]
        return OK

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, Handle]:
        assert flags == 2, "an event that takes times"
        handle = next(self._handles)
        self.events[handle] = None
        return cudaError_t.cudaSuccess, Handle(handle)

    def cudaEventRecord(self, event: Handle, stream: int) -> tuple[Any]:
        if int(event) not in self.events or stream not in self.streams:
            return INVALID
        self.events[int(event)] = stream, next(self._numbers)
        return OK

    def cudaStreamWaitEvent(self, stream: int, event: Handle, flags: int) -> tuple[Any]:
        if int(event) not in self.events or stream not in self.streams or flags:
            return INVALID
        before = self.events[int(event)]
        self.push(stream, lambda: self._reach(before))
        return OK

    def cudaEventSynchronize(self, event: Handle) -> tuple[Any]:
        if int(event) not in self.events:
            return INVALID
        self._reach(self.events[int(event)])
        return OK

    def _reach(self, before: tuple[int, int] | None) -> None:
        # A stream that was destroyed has done its work.
        if before is not None and before[0] in self.streams:
            self._run(*before)

    def cudaEventDestroy(self, event: Handle) -> tuple[Any]:
        return OK if self.events.pop(int(event), 0) != 0 else INVALID

    # -- graphs -------------------------------------------------------------------------------------------------------

    def cudaStreamBeginCapture(self, stream: int, mode: cudaStreamCaptureMode) -> tuple[Any]:
        if stream not in self.streams or stream in self.capturing or not isinstance(mode, cudaStreamCaptureMode):
            return INVALID
        if self.no_capture:
            return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
        self.capturing[stream] = []
        return OK

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, Handle | None]:
        if stream not in self.capturing:
            return (*INVALID, None)
        handle = next(self._handles)
        self.graphs[handle] = self.capturing.pop(stream)
        return cudaError_t.cudaSuccess, Handle(handle)

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> tuple[Any, Handle | None]:
        if int(graph) not in self.graphs or flags:
            return (*INVALID, None)
        handle = next(self._handles)
        self.graphs[handle] = list(self.graphs[int(graph)])
        return cudaError_t.cudaSuccess, Handle(handle)

    def cudaGraphDestroy(self, graph: Handle) -> tuple[Any]:
        return INVALID if self.graphs.pop(int(graph), None) is None else OK

    def cudaGraphExecDestroy(self, graphExec: Handle) -> tuple[Any]:
        return self.cudaGraphDestroy(graphExec)

    def cudaGraphLaunch(self, graphExec: Handle, stream: int) -> tuple[Any]:
        if int(graphExec) not in self.graphs or stream not in self.streams:
            return INVALID
        self.launched += 1
        for work in self.graphs[int(graphExec)]:
            self.push(stream, work.run, work.uses)
        return OK

    # -- device -------------------------------------------------------------------------------------------------------

    def cudaGetDevice(self) -> tuple[Any, int]:
        return cudaError_t.cudaSuccess, 0

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, Any]:
        major, minor = map(int, self.capability.split("."))
        name = self.name.encode().ljust(256, b"\0")
        properties = types.SimpleNamespace(
            name=name, major=major, minor=minor, integrated=int(self.integrated), totalGlobalMem=self.total_bytes
        )
        return cudaError_t.cudaSuccess, properties

    def cudaGetErrorString(self, error: cudaError_t) -> tuple[Any, bytes]:
        return cudaError_t.cudaSuccess, cudaError_t(error).name.encode()
