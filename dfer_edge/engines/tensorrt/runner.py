"""A TensorRT engine in memory: a context, buffers and CUDA graphs a batch size, calls on any stream.

Batches are padded to powers of two, so that a handful of graphs serves all. Contexts share one block of scratch memory,
as large as the largest profile in use needs: calls take turns. Built, not yet run on hardware.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dfer_edge.engines.base import Feed, FloatArray
from dfer_edge.engines.cuda_memory import Buffer, Cuda, Scratch
from dfer_edge.engines.feature_store import FeatureStore, Slot
from dfer_edge.engines.tensorrt.library import Library, Messages
from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput

Shape = tuple[int, ...]
_LOG = logging.getLogger("dfer_edge")
_FLOAT_BYTES = 4
# What setTensorAddress demands of an address.
ALIGNMENT = 256


class _Moves(enum.Enum):
    """What is copied around an inference."""

    BOTH = enum.auto()
    # Inputs up, the output stays on the device; or inputs are there already, the output comes down.
    UP = enum.auto()
    DOWN = enum.auto()


@dataclasses.dataclass
class _Slot:
    """An execution context in a profile, set to ``rows``; the runner's own have buffers and, once run, graphs."""

    profile: int
    context: Any
    rows: int = 0
    buffers: dict[str, Buffer] = dataclasses.field(default_factory=dict)
    graphs: dict[_Moves, Any] = dataclasses.field(default_factory=dict)


class Runner:
    """Runs a serialised engine that this device's cache built.

    Parameters
    ----------
    library, cuda
        What built the engine, and the device.
    plan
        Its bytes, verified by the caller: an engine is code.
    inputs, dtypes
        Input name -> shape without the batch axis, and dtype: float32, or uint8 of crops.
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
    no_graph
        Why :meth:`run` enqueues each step by itself instead of launching CUDA graphs; empty while it need not.

    Raises
    ------
    EngineUnavailable
        If the library makes no runtime, e.g. with a driver that is too old.
    CorruptArtifact
        If the library takes the bytes for no engine of its own, or they hold another network.
    """

    def __init__(
        self,
        library: Library,
        cuda: Cuda,
        plan: bytes,
        inputs: Mapping[str, Shape],
        dtypes: Mapping[str, np.dtype[np.generic]],
        output: str,
    ) -> None:
        self._library, self._cuda, self._inputs, self._output = library, cuda, dict(inputs), output
        self._dtypes = dict(dtypes)
        self._messages = Messages(library)
        self._runtime = library.make("Runtime", self._messages)
        # Engines may carry code for the host; ours never do.
        self._runtime.engine_host_code_allowed = False
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise CorruptArtifact(f"{library.name} {library.version} does not load the engine: {self._messages.take()}")
        self._check_tensors()
        self.output_shape: Shape = tuple(self._engine.get_tensor_shape(output))[1:]
        self._is_fixed, self.limits = self._profile_limits()
        # By padded rows, with buffers; and by profile, for memory of callers.
        self._own: dict[int, _Slot] = {}
        self._lent: dict[int, _Slot] = {}
        self._scratch: Scratch | None = None
        self._store = FeatureStore(cuda, _FLOAT_BYTES * math.prod(self.output_shape))
        # The last work on a caller's stream: its stream and mark. Work on our own stream is always waited for.
        self._under_way: tuple[int, Any] | None = None
        self.no_graph = ""
        self.stream = cuda.create_stream()

    def _check_tensors(self) -> None:
        engine, trt = self._engine, self._library.trt
        found = {}
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = {trt.float32: "float32", trt.uint8: "uint8"}.get(engine.get_tensor_dtype(name), "another")
            found[name] = (is_input, dtype, tuple(engine.get_tensor_shape(name))[1:] if is_input else None)
        expected: dict[str, Any] = {
            name: (True, str(self._dtypes[name]), shape) for name, shape in self._inputs.items()
        }
        expected[self._output] = (False, "float32", None)
        if found != expected:
            raise CorruptArtifact(f"expected an engine with the tensors {expected}, got {found}")

    def _profile_limits(self) -> tuple[bool, tuple[int, ...]]:
        name = next(iter(self._inputs))
        fixed = int(next(iter(self._engine.get_tensor_shape(name))))
        if fixed > 0:
            return True, (fixed,)
        count = self._engine.num_optimization_profiles
        most = [self._engine.get_tensor_profile_shape(name, index)[2] for index in range(count)]
        return False, tuple(int(next(iter(shape))) for shape in most)

    def run(self, feed: Feed) -> FloatArray:
        """The output [B, ...] of checked inputs [B, ...], any B: more rows than a profile takes go in turns."""
        rows, most = len(next(iter(feed.values()))), max(self.limits)
        result: FloatArray = np.empty((rows, *self.output_shape), np.float32)
        for start in range(0, rows, most):
            part = {name: value[start : start + most] for name, value in feed.items()}
            result[start : start + most] = self._run_part(part)
        return result

    def keep(self, feed: Feed) -> list[Slot]:
        """As :meth:`run`, each row of the output left in device memory: valid for what follows on our stream."""
        rows, most = len(next(iter(feed.values()))), max(self.limits)
        kept: list[Slot] = []
        for start in range(0, rows, most):
            part = {name: value[start : start + most] for name, value in feed.items()}
            slot = self._stage(part)
            self._launch(slot, _Moves.UP)
            output = slot.buffers[self._output].device
            for row in range(len(next(iter(part.values())))):
                kept.append(self._store.take())
                self._cuda.copy(kept[-1].address, output + row * self._store.size, self._store.size, self.stream)
        return kept

    def run_kept(self, windows: Sequence[Sequence[Slot]], producers: Iterable[Runner]) -> FloatArray:
        """The output [B, ...] for windows of slots that :meth:`keep` of ``producers`` returned; there is one input."""
        (name,), most = self._inputs, max(self.limits)
        for producer in producers:
            self.follow(producer.stream, self.stream)
        size = _FLOAT_BYTES * math.prod(self._inputs[name][1:])
        results = []
        for start in range(0, len(windows), most):
            part = windows[start : start + most]
            slot = self._own_slot(self._padded(len(part)))
            self._follow(self.stream)
            address = slot.buffers[name].device
            for kept in (kept for window in part for kept in window):
                self._cuda.copy(address, kept.address, size, self.stream)
                address += size
            self._launch(slot, _Moves.DOWN)
            # A copy: the next part overwrites it.
            results.append(self._fetched(slot, len(part)).copy())
        return np.concatenate(results)

    def _run_part(self, feed: Feed) -> FloatArray:
        slot = self._stage(feed)
        self._launch(slot, _Moves.BOTH)
        return self._fetched(slot, len(next(iter(feed.values()))))

    def _stage(self, feed: Feed) -> _Slot:
        """The buffers for ``feed``, which is in their host memory; what is enqueued next may run."""
        slot = self._own_slot(self._padded(len(next(iter(feed.values())))))
        # What was kept before may still be on its way up.
        self._cuda.synchronize(self.stream)
        for name, value in feed.items():
            # Rows beyond the batch keep what they held: rows do not see each other.
            slot.buffers[name].host[: value.nbytes].view(value.dtype)[:] = value.reshape(-1)
        self._follow(self.stream)
        return slot

    def _launch(self, slot: _Slot, moves: _Moves) -> None:
        """Enqueue a step; in one launch from the second time on."""
        if moves in slot.graphs:
            self._cuda.launch(slot.graphs[moves], self.stream)
            return
        self._step(slot, moves)
        if not self.no_graph:
            # After a first run, in which the library may still allocate.
            self._cuda.synchronize(self.stream)
            self._capture(slot, moves)

    def _fetched(self, slot: _Slot, rows: int) -> FloatArray:
        """Wait for the output; a view of the buffer."""
        self._cuda.synchronize(self.stream)
        size = rows * math.prod(self.output_shape) * _FLOAT_BYTES
        found: FloatArray = slot.buffers[self._output].host[:size].view(np.float32).reshape(rows, *self.output_shape)
        return found

    def _padded(self, rows: int) -> int:
        """The least power of two, or limit of a profile, that takes ``rows``."""
        if self._is_fixed:
            return self.limits[0]
        return min(n for n in (1 << (rows - 1).bit_length(), *self.limits) if n >= rows and n <= max(self.limits))

    def _step(self, slot: _Slot, moves: _Moves) -> None:
        """Upload, inference and download on our own stream and buffers."""
        if moves is not _Moves.DOWN:
            for name in self._inputs:
                self._cuda.upload(slot.buffers[name], self._bytes(name, slot.rows), self.stream)
        self._enqueue(slot, {name: buffer.device for name, buffer in slot.buffers.items()}, self.stream)
        if moves is not _Moves.UP:
            self._cuda.download(slot.buffers[self._output], self._bytes(self._output, slot.rows), self.stream)

    def _bytes(self, name: str, rows: int) -> int:
        if name == self._output:
            return rows * math.prod(self.output_shape) * _FLOAT_BYTES
        return rows * math.prod(self._inputs[name]) * self._dtypes[name].itemsize

    def _capture(self, slot: _Slot, moves: _Moves) -> None:
        try:
            slot.graphs[moves] = self._cuda.capture(self.stream, lambda: self._step(slot, moves))
        except EngineUnavailable as error:
            self.no_graph = error.message
            _LOG.info("TensorRT runs without a CUDA graph: %s", error.message)

    def enqueue(self, addresses: Mapping[str, int], rows: int, stream: int) -> None:
        """Enqueue one inference on the caller's memory and stream; returns before it is done.

        Parameters
        ----------
        addresses
            Tensor name -> address on the device, a multiple of 256, of contiguous [rows, ...] of the tensor's dtype, of
            all inputs and the output. They must stay valid until the stream is synchronised.
        rows
            Batch size, at most the last of ``limits``.
        stream
            Handle of a CUDA stream, not the default one. Calls on several streams wait for each other on the device.

        Raises
        ------
        InvalidInput
            For a missing or unknown tensor, an address that is not aligned, too many rows, or the default stream.
        """
        expected = {*self._inputs, self._output}
        if set(addresses) != expected:
            raise InvalidInput(f"expected the addresses of {sorted(expected)}, got {sorted(addresses)}")
        if not 1 <= rows <= max(self.limits) or (self._is_fixed and rows != self.limits[0]):
            most = max(self.limits)
            raise InvalidInput(f"expected {most if self._is_fixed else f'1 to {most}'} rows, got {rows}")
        if not stream:
            raise InvalidInput(
                "expected a stream of the caller's own, got the default stream, on which nothing overlaps"
            )
        for name, address in addresses.items():
            if address <= 0 or address % ALIGNMENT:
                what = f"expected an address of {name} that is a multiple of {ALIGNMENT}, got {address:#x}"
                raise InvalidInput(what, "a slice of an array may begin anywhere: copy it into an array of its own")
        profile = self._profile_of(rows)
        if profile not in self._lent:
            self._lent[profile] = self._slot(profile)
        slot = self._lent[profile]
        self._follow(stream)
        self._set_rows(slot, rows)
        self._enqueue(slot, addresses, stream)
        self._under_way = stream, self._cuda.mark(stream)

    def follow(self, producer: int, stream: int) -> None:
        """Let what is enqueued on ``stream`` from now on wait for what is enqueued on ``producer``."""
        if producer != stream:
            self._cuda.wait_for(self._cuda.mark(producer), stream)

    def _follow(self, stream: int | None) -> None:
        """Wait for work on callers' streams, which uses the scratch memory and may use the same context."""
        if self._under_way is None:
            return
        mark, self._under_way = self._under_way[1], None
        self._cuda.wait_for(mark, stream)

    def _enqueue(self, slot: _Slot, addresses: Mapping[str, int], stream: int) -> None:
        for name, address in addresses.items():
            self._require(slot.context.set_tensor_address(name, int(address)), f"take the address of {name}")
        self._require(slot.context.execute_async_v3(stream), "run the engine")

    def _set_rows(self, slot: _Slot, rows: int) -> None:
        if slot.rows != rows:
            for name, shape in self._inputs.items():
                self._require(slot.context.set_input_shape(name, (rows, *shape)), f"take {name} with {rows} rows")
            slot.rows = rows

    def _require(self, done: bool, what: str) -> None:
        if not done:
            name, version = self._library.name, self._library.version
            raise EngineUnavailable(f"{name} {version} did not {what}: {self._messages.take()}")

    def _profile_of(self, rows: int) -> int:
        return next(index for index, limit in enumerate(self.limits) if rows <= limit)

    def _own_slot(self, rows: int) -> _Slot:
        if rows not in self._own:
            slot = self._slot(self._profile_of(rows))
            try:
                self._set_rows(slot, rows)
                for name in (*self._inputs, self._output):
                    slot.buffers[name] = self._cuda.allocate(self._bytes(name, rows))
                    slot.buffers[name].host[:] = 0
            except BaseException:
                self._drop(slot)
                raise
            self._own[rows] = slot
        return self._own[rows]

    def _slot(self, profile: int) -> _Slot:
        """A context in a profile, on the shared scratch memory."""
        strategy = self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise EngineUnavailable(f"{self._library.name} made no execution context: {self._messages.take()}")
        if profile:
            done = context.set_optimization_profile_async(profile, self.stream)
            self._require(done, f"switch to profile {profile}")
            self._cuda.synchronize(self.stream)
        scratch = self._scratch_of(profile)
        if scratch is not None:
            context.set_device_memory(scratch.address, scratch.size)
        return _Slot(profile, context)

    def _scratch_of(self, profile: int) -> Scratch | None:
        """The shared block, made larger if the profile needs more; graphs on the old one are forgotten."""
        needed = int(self._engine.get_device_memory_size_for_profile_v2(profile))
        if needed <= (self._scratch.size if self._scratch else 0):
            return self._scratch
        self._follow(None)
        self._cuda.synchronize(self.stream)
        # The new one first: where there is no room for it, what was there still runs.
        larger = self._cuda.allocate_scratch(needed)
        for slot in (*self._own.values(), *self._lent.values()):
            self._forget_graphs(slot)
            slot.context.set_device_memory(larger.address, larger.size)
        if self._scratch is not None:
            self._cuda.free_scratch(self._scratch)
        self._scratch = larger
        return larger

    def _forget_graphs(self, slot: _Slot) -> None:
        while slot.graphs:
            self._cuda.destroy_graph(slot.graphs.popitem()[1])

    def _drop(self, slot: _Slot) -> None:
        self._forget_graphs(slot)
        slot.context = None
        for buffer in slot.buffers.values():
            self._cuda.free(buffer)

    def close(self) -> None:
        """Wait for all work, also on callers' streams, and free device memory; the runner cannot be used after."""
        self._follow(None)
        self._cuda.synchronize(self.stream)
        for slot in (*self._own.values(), *self._lent.values()):
            self._drop(slot)
        self._own, self._lent = {}, {}
        self._store.close()
        if self._scratch is not None:
            self._cuda.free_scratch(self._scratch)
            self._scratch = None
        self._cuda.destroy_stream(self.stream)
        # In this order: the library wants contexts gone before engines, and engines before runtimes.
        self._engine = self._runtime = None
