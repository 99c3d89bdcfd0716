"""A TensorRT engine in memory: contexts by batch size, buffers allocated once, asynchronous calls on any stream.

Built, not yet run on hardware.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfer_edge.engines.base import FloatArray
from dfer_edge.engines.cuda_memory import Buffer, Cuda
from dfer_edge.engines.tensorrt_library import Library, Messages
from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput

Shape = tuple[int, ...]
_FLOAT_BYTES = 4


@dataclasses.dataclass
class _Slot:
    """One optimisation profile with its execution context and buffers; ``rows`` is what the context is set to."""

    context: Any
    buffers: dict[str, Buffer]
    rows: int = 0


class Runner:
    """Runs a serialised engine that this device's cache built.

    Parameters
    ----------
    library, cuda
        What built the engine, and the device.
    plan
        Its bytes, verified by the caller: an engine is code.
    inputs
        Input name -> shape without the batch axis.
    output
        Name of its output.

    Attributes
    ----------
    stream
        The runner's own stream.
    limits
        Most rows of each profile, ascending.
    output_shape
        Of the output, without the batch axis.

    Raises
    ------
    CorruptArtifact
        If the library takes the bytes for no engine of its own, or they hold another network.
    """

    def __init__(self, library: Library, cuda: Cuda, plan: bytes, inputs: Mapping[str, Shape], output: str) -> None:
        self._library, self._cuda, self._inputs, self._output = library, cuda, dict(inputs), output
        self._messages = Messages(library)
        self._runtime = library.trt.Runtime(self._messages.logger)
        # Engines may carry code for the host; ours never do.
        self._runtime.engine_host_code_allowed = False
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise CorruptArtifact(f"TensorRT {library.version} does not load the engine: {self._messages.take()}")
        self._check_tensors()
        self.output_shape: Shape = tuple(self._engine.get_tensor_shape(output))[1:]
        self.limits = self._profile_limits()
        self._slots: dict[int, _Slot] = {}
        self.stream = cuda.create_stream()

    def _check_tensors(self) -> None:
        engine, trt = self._engine, self._library.trt
        found = {}
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            is_float = engine.get_tensor_dtype(name) == trt.float32
            found[name] = (is_input, is_float, tuple(engine.get_tensor_shape(name))[1:] if is_input else None)
        expected: dict[str, Any] = {name: (True, True, shape) for name, shape in self._inputs.items()}
        expected[self._output] = (False, True, None)
        if found != expected:
            raise CorruptArtifact(f"expected an engine with the tensors {expected}, got {found}")

    def _profile_limits(self) -> tuple[int, ...]:
        name = next(iter(self._inputs))
        fixed = int(next(iter(self._engine.get_tensor_shape(name))))
        if fixed > 0:
            return (fixed,)
        count = self._engine.num_optimization_profiles
        most = [self._engine.get_tensor_profile_shape(name, index)[2] for index in range(count)]
        return tuple(int(next(iter(shape))) for shape in most)

    def run(self, feed: Mapping[str, FloatArray]) -> FloatArray:
        """The output [B, ...] of checked inputs [B, ...], any B: more rows than a profile takes go in turns."""
        rows, most = len(next(iter(feed.values()))), max(self.limits)
        result: FloatArray = np.empty((rows, *self.output_shape), np.float32)
        for start in range(0, rows, most):
            part = {name: value[start : start + most] for name, value in feed.items()}
            result[start : start + most] = self._run_part(part)
        return result

    def _run_part(self, feed: Mapping[str, FloatArray]) -> FloatArray:
        rows = len(next(iter(feed.values())))
        slot = self._slot_for(rows)
        for name, value in feed.items():
            buffer = slot.buffers[name]
            buffer.host[: value.nbytes].view(np.float32)[:] = value.reshape(-1)
            self._cuda.upload(buffer, value.nbytes, self.stream)
        self._enqueue(slot, rows, {name: buffer.device for name, buffer in slot.buffers.items()}, self.stream)
        buffer, size = slot.buffers[self._output], rows * math.prod(self.output_shape) * _FLOAT_BYTES
        self._cuda.download(buffer, size, self.stream)
        self._cuda.synchronize(self.stream)
        found: FloatArray = buffer.host[:size].view(np.float32).reshape(rows, *self.output_shape)
        return found

    def enqueue(self, addresses: Mapping[str, int], rows: int, stream: int) -> None:
        """Enqueue one inference on the caller's memory and stream; returns before it is done.

        Parameters
        ----------
        addresses
            Tensor name -> address on the device, of contiguous float32 [rows, ...], of all inputs and the output. They
            must stay valid until the stream is synchronised.
        rows
            Batch size, at most the last of ``limits``.
        stream
            Handle of a CUDA stream, not the default one. Calls with batch sizes of one profile share an execution
            context: give them all the same stream, or wait in between.

        Raises
        ------
        InvalidInput
            For a missing or unknown tensor, too many rows, or the default stream.
        """
        expected = {*self._inputs, self._output}
        if set(addresses) != expected:
            raise InvalidInput(f"expected the addresses of {sorted(expected)}, got {sorted(addresses)}")
        if not 1 <= rows <= max(self.limits):
            raise InvalidInput(f"expected 1 to {max(self.limits)} rows, got {rows}")
        if not stream:
            raise InvalidInput(
                "expected a stream of the caller's own, got the default stream, on which nothing overlaps"
            )
        self._enqueue(self._slot_for(rows), rows, addresses, stream)

    def _enqueue(self, slot: _Slot, rows: int, addresses: Mapping[str, int], stream: int) -> None:
        context = slot.context
        if slot.rows != rows:
            for name, shape in self._inputs.items():
                self._require(context.set_input_shape(name, (rows, *shape)), f"take {name} with {rows} rows")
            slot.rows = rows
        for name, address in addresses.items():
            self._require(context.set_tensor_address(name, int(address)), f"take the address of {name}")
        self._require(context.execute_async_v3(stream), "run the engine")

    def _require(self, done: bool, what: str) -> None:
        if not done:
            raise EngineUnavailable(f"TensorRT {self._library.version} did not {what}: {self._messages.take()}")

    def _slot_for(self, rows: int) -> _Slot:
        index = next(i for i, limit in enumerate(self.limits) if rows <= limit)
        if index not in self._slots:
            context = self._engine.create_execution_context()
            if context is None:
                raise EngineUnavailable(f"TensorRT made no execution context: {self._messages.take()}")
            self._slots[index] = _Slot(context, {})
            try:
                self._fill(self._slots[index], index)
            except BaseException:
                self._drop(index)
                raise
        return self._slots[index]

    def _fill(self, slot: _Slot, index: int) -> None:
        if index:
            done = slot.context.set_optimization_profile_async(index, self.stream)
            self._require(done, f"switch to profile {index}")
            self._cuda.synchronize(self.stream)
        for name, shape in {**self._inputs, self._output: self.output_shape}.items():
            slot.buffers[name] = self._cuda.allocate(self.limits[index] * math.prod(shape) * _FLOAT_BYTES)

    def _drop(self, index: int) -> None:
        slot = self._slots.pop(index)
        slot.context = None
        for buffer in slot.buffers.values():
            self._cuda.free(buffer)

    def close(self) -> None:
        """Free device memory; the runner cannot be used after."""
        self._cuda.synchronize(self.stream)
        for index in tuple(self._slots):
            self._drop(index)
        self._cuda.destroy_stream(self.stream)
        # In this order: the library wants contexts gone before engines, and engines before runtimes.
        self._engine = self._runtime = None
