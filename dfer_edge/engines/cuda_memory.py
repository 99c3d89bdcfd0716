"""Device memory, pinned host memory and streams for engines on a GPU, through cuda-python or PyCUDA; no torch.

On a Jetson CPU and GPU share one memory: buffers there are pinned host memory that the GPU reads in place, and nothing
is copied. Built, not yet run on hardware.
"""

from __future__ import annotations

import abc
import ctypes
import dataclasses
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import EngineUnavailable

Bytes = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes
    ----------
    name
        As the driver says it.
    capability
        Compute capability, e.g. ``8.7``.
    integrated
        Whether it shares its memory with the CPU.
    memory_bytes
        Of the device, 0 where it is not known.
    """

    name: str
    capability: str
    integrated: bool
    memory_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Buffer:
    """Pinned host memory and the device memory behind it.

    Attributes
    ----------
    host
        uint8, of the buffer's size.
    device
        Address for the GPU.
    mapped
        Whether both are the same memory.
    owner
        What keeps the memory alive, for back ends that free by reference count.
    """

    host: Bytes
    device: int
    mapped: bool
    owner: Any = None


@dataclasses.dataclass(frozen=True)
class Scratch:
    """Memory of the device alone: its address and size, and what keeps it alive."""

    address: int
    size: int
    owner: Any = None


class Cuda(abc.ABC):
    """What engines need of CUDA, on the current device. Streams are handles as integers."""

    @abc.abstractmethod
    def device(self) -> Device:
        """The current device."""

    @abc.abstractmethod
    def allocate(self, size: int) -> Buffer:
        """A buffer of ``size`` bytes, mapped where the GPU shares the CPU's memory."""

    @abc.abstractmethod
    def free(self, buffer: Buffer) -> None:
        """Give a buffer back; nothing may be under way on it."""

    @abc.abstractmethod
    def allocate_scratch(self, size: int) -> Scratch:
        """Device memory that the CPU never touches, aligned to 256 bytes."""

    @abc.abstractmethod
    def free_scratch(self, scratch: Scratch) -> None:
        """Give it back; nothing may be under way on it."""

    @abc.abstractmethod
    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        """Enqueue the copy of the first ``size`` bytes to the device."""

    @abc.abstractmethod
    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        """Enqueue the copy of the first ``size`` bytes to the host."""

    @abc.abstractmethod
    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Enqueue the copy of ``size`` bytes between two addresses of the device."""

    @abc.abstractmethod
    def create_stream(self) -> int:
        """A stream that does not wait for the default stream."""

    @abc.abstractmethod
    def destroy_stream(self, stream: int) -> None:
        """Give a stream of :meth:`create_stream` back."""

    @abc.abstractmethod
    def synchronize(self, stream: int) -> None:
        """Wait until all that was enqueued is done."""

    @abc.abstractmethod
    def mark(self, stream: int) -> Any:
        """What :meth:`wait_for` waits for: all that is enqueued on a stream of anybody's until now."""

    @abc.abstractmethod
    def wait_for(self, mark: Any, stream: int | None) -> None:
        """Let what is enqueued on ``stream`` from now on wait for a mark, or the CPU if None; the mark is used up."""

    @abc.abstractmethod
    def capture(self, stream: int, run: Callable[[], None]) -> Any:
        """A CUDA graph of what ``run`` enqueues on a stream of :meth:`create_stream`, without running it.

        Raises EngineUnavailable where something in it cannot be captured.
        """

    @abc.abstractmethod
    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a captured graph."""

    @abc.abstractmethod
    def destroy_graph(self, graph: Any) -> None:
        """Give a graph back; it may not be under way."""


class CudaPython(Cuda):
    """The CUDA runtime through ``cuda-python``: each function returns its error code and its results."""

    def __init__(self, runtime: ModuleType) -> None:
        self._runtime: Any = runtime
        self._integrated = self.device().integrated

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *results = getattr(self._runtime, name)(*arguments)
        if code != self._runtime.cudaError_t.cudaSuccess:
            _, text = self._runtime.cudaGetErrorString(code)
            raise EngineUnavailable(f"CUDA failed in {name}: {text.decode() if isinstance(text, bytes) else text}")
        return results[0] if results else None

    def device(self) -> Device:
        properties = self._call("cudaGetDeviceProperties", self._call("cudaGetDevice"))
        name = properties.name.split(b"\0")[0].decode()
        capability, memory = f"{properties.major}.{properties.minor}", int(properties.totalGlobalMem)
        return Device(name, capability, bool(properties.integrated), memory)

    def allocate(self, size: int) -> Buffer:
        runtime = self._runtime
        flags = runtime.cudaHostAllocMapped if self._integrated else runtime.cudaHostAllocDefault
        host = int(self._call("cudaHostAlloc", size, flags))
        array: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(host))
        try:
            if self._integrated:
                return Buffer(array, int(self._call("cudaHostGetDevicePointer", host, 0)), True)
            return Buffer(array, int(self._call("cudaMalloc", size)), False)
        except EngineUnavailable:
            self._call("cudaFreeHost", host)
            raise

    def free(self, buffer: Buffer) -> None:
        if not buffer.mapped:
            self._call("cudaFree", buffer.device)
        self._call("cudaFreeHost", buffer.host.ctypes.data)

    def allocate_scratch(self, size: int) -> Scratch:
        return Scratch(int(self._call("cudaMalloc", size)), size)

    def free_scratch(self, scratch: Scratch) -> None:
        self._call("cudaFree", scratch.address)

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        if not buffer.mapped:
            kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
            self._call("cudaMemcpyAsync", buffer.device, buffer.host.ctypes.data, size, kind, stream)

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        if not buffer.mapped:
            kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self._call("cudaMemcpyAsync", buffer.host.ctypes.data, buffer.device, size, kind, stream)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        # Either may be memory that the CPU shares: which it is, the addresses say.
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpyAsync", target, source, size, kind, stream)

    def create_stream(self) -> int:
        return int(self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def mark(self, stream: int) -> Any:
        # Recorded at once: the caller may destroy the stream before anybody waits.
        event = self._call("cudaEventCreateWithFlags", self._runtime.cudaEventDisableTiming)
        self._call("cudaEventRecord", event, stream)
        return event

    def wait_for(self, mark: Any, stream: int | None) -> None:
        if stream is None:
            self._call("cudaEventSynchronize", mark)
        else:
            self._call("cudaStreamWaitEvent", stream, mark, 0)
        self._call("cudaEventDestroy", mark)

    def capture(self, stream: int, run: Callable[[], None]) -> Any:
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            run()
        except BaseException:
            # Ends the capture, whose own error says less than what ended it.
            self._runtime.cudaStreamEndCapture(stream)
            raise
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)


class PyCuda(Cuda):
    """PyCUDA, as JetPack images carry it. Its buffers are always mapped: it cannot copy on a stream of others."""

    def __init__(self, driver: ModuleType) -> None:
        self._driver: Any = driver
        # TensorRT runs in the device's primary context; a context of PyCUDA's own would not see its memory.
        importlib.import_module("pycuda.autoprimaryctx")
        self._streams: dict[int, Any] = {}

    def device(self) -> Device:
        device = self._driver.Context.get_device()
        major, minor = device.compute_capability()
        integrated = device.get_attribute(self._driver.device_attribute.INTEGRATED)
        return Device(device.name(), f"{major}.{minor}", bool(integrated), int(device.total_memory()))

    def allocate(self, size: int) -> Buffer:
        array = self._driver.pagelocked_empty(size, np.uint8, mem_flags=self._driver.host_alloc_flags.DEVICEMAP)
        return Buffer(array, int(array.base.get_device_pointer()), True, array)

    def free(self, buffer: Buffer) -> None:
        pass  # with the array

    def allocate_scratch(self, size: int) -> Scratch:
        memory = self._driver.mem_alloc(size)
        return Scratch(int(memory), size, memory)

    def free_scratch(self, scratch: Scratch) -> None:
        scratch.owner.free()

    def upload(self, buffer: Buffer, size: int, stream: int) -> None:
        pass  # mapped

    def download(self, buffer: Buffer, size: int, stream: int) -> None:
        pass  # mapped

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self._driver.memcpy_dtod_async(target, source, size, self._streams[stream])

    def create_stream(self) -> int:
        stream = self._driver.Stream()
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def synchronize(self, stream: int) -> None:
        self._streams[stream].synchronize()

    def mark(self, stream: int) -> Any:
        return None  # it knows no streams but its own

    def wait_for(self, mark: Any, stream: int | None) -> None:
        self._driver.Context.synchronize()

    def capture(self, stream: int, run: Callable[[], None]) -> Any:
        raise EngineUnavailable("PyCUDA captures no CUDA graphs", "cuda-python does")

    def launch(self, graph: Any, stream: int) -> None:
        raise EngineUnavailable("PyCUDA launches no CUDA graphs", "cuda-python does")

    def destroy_graph(self, graph: Any) -> None:
        pass


def open_cuda() -> Cuda:
    """The first of cuda-python (new module name, then old) and PyCUDA that works here.

    Raises
    ------
    EngineUnavailable
        With the reason of each.
    """
    choices = (("cuda.bindings.runtime", CudaPython), ("cuda.cudart", CudaPython), ("pycuda.driver", PyCuda))
    reasons: list[str] = []
    for name, kind in choices:
        opened = _open(name, kind)
        if isinstance(opened, Cuda):
            return opened
        reasons.append(f"{name}: {opened}")
    hint = 'pip install "dfer-edge[tensorrt]" has cuda-python'
    raise EngineUnavailable(f"expected a working CUDA library; {'; '.join(reasons)}", hint)


def _open(name: str, kind: Callable[[ModuleType], Cuda]) -> Cuda | str:
    """A working library, or why it does not work."""
    try:
        return kind(importlib.import_module(name))
    except EngineUnavailable as error:
        return error.message
    except Exception as error:  # PyCUDA raises its own errors while it is imported
        return str(error)
