"""TensorRT on NVIDIA GPUs: built on the device that runs it, kept in the cache, checked against ONNX Runtime.

Written against the documented interfaces of 10.3, 10.16 and 11.x and tested with a recording double: built, not yet run
on hardware. ``dfer-edge doctor --self-test tensorrt`` proves or breaks it on a board.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from dfer_edge.cache import manifest as cache_manifest
from dfer_edge.cache import store as cache
from dfer_edge.cache.hashing import file_sha256
from dfer_edge.engines import mixed_precision
from dfer_edge.engines.base import Engine, Feed, FloatArray, Kept, part_of
from dfer_edge.engines.cuda_memory import Device, open_cuda
from dfer_edge.engines.external import check_weights, header, mapped_bytes
from dfer_edge.engines.tensorrt import library as tensorrt_library
from dfer_edge.engines.tensorrt.build import Recipe, build
from dfer_edge.engines.tensorrt.build_progress import Tracker
from dfer_edge.engines.tensorrt.gate import check, gate_feed, reference
from dfer_edge.engines.tensorrt.library import Library, Messages
from dfer_edge.engines.tensorrt.runner import Runner
from dfer_edge.errors import CorruptArtifact, DferError, EngineUnavailable, InvalidInput, PrecisionUnavailable
from dfer_edge.inference import pixels
from dfer_edge.inference.parts import input_shapes, output_name
from dfer_edge.spec import ModelSpec
from dfer_edge.system import board

_LOG = logging.getLogger("dfer_edge")
_PLAN = "engine.plan"
# Clips of one call at most; more go in turns. Image networks score each frame: activations of many are gigabytes.
_MOST_CLIPS = {"clip": 8, "image": 2}
# Where the CPU has the same memory, a layer's scratch may take this share of it.
_WORKSPACE_SHARE = 8


def unavailable() -> str:
    """Why TensorRT cannot run here; empty means that it can."""
    return reason_against(lambda device: tensorrt_library.load())


def reason_against(load: Callable[[Device], Library]) -> str:
    """Why a library cannot run on the current device; empty means that it can."""
    try:
        library = load(open_cuda().device())
        # Cheap, and what fails with a driver that is too old.
        library.make("Runtime", Messages(library))
    except EngineUnavailable as error:
        return error.message
    return ""


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    return {
        "fp32": "",
        "bf16": "fp16 is as fast on these devices and keeps more bits",
        "fp16": "",
        "int8": "",
    }


def identity(library: Library, device: Device) -> dict[str, str]:
    """What engines, timing caches and measurements are bound to."""
    return {
        "tensorrt": f"RTX {library.version}" if library.target else library.version,
        "gpu": device.name,
        "capability": device.capability,
        "l4t": board.l4t(),
        "power_mode": board.power_mode(),
    }


class TensorRtEngine(Engine):
    """Builds the file for this device, or takes the cache's own engine of it. int8 needs a Q/DQ file."""

    name = "tensorrt"
    keeps_on_device = True

    def _load(self) -> dict[str, str]:
        model = self._read()
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        if "dfer_edge.spec" not in metadata:
            return metadata
        check_weights(self.path, metadata)
        self._check_precision(model)
        self._cuda = open_cuda()
        self._device = self._cuda.device()
        self._library = self._load_library(self._device)
        self._lock = threading.Lock()
        self._open(ModelSpec.from_json(metadata["dfer_edge.spec"]), metadata)
        return metadata

    @staticmethod
    def _load_library(device: Device) -> Library:
        return tensorrt_library.load()

    def _read(self) -> onnx.ModelProto:
        try:
            return header(self.path)
        except (DecodeError, OSError, ValueError) as error:
            raise CorruptArtifact(f"expected an ONNX file that loads, got {self.path}: {error}") from error

    def _check_precision(self, model: onnx.ModelProto) -> None:
        quantised, precision = mixed_precision.is_quantised(model), self.options.precision
        if precision == "int8" and not quantised:
            reason = f"tensorrt in int8 needs a calibrated Q/DQ file, got {self.path} without quantisation"
            raise PrecisionUnavailable(reason)
        if precision != "int8" and quantised:
            raise InvalidInput(f"expected an fp32 file for {precision}, got the quantised {self.path}")

    def _open(self, spec: ModelSpec, metadata: Mapping[str, str]) -> None:
        part, batch = part_of(metadata), metadata.get("dfer_edge.batch", "dynamic")
        self._fixed_rows = 0 if batch == "dynamic" else int(batch)
        shapes, takes_pixels = input_shapes(spec, part), pixels.are_taken(metadata)
        self._shapes = pixels.pixel_shapes(shapes) if takes_pixels else shapes
        self._dtypes, self._output = pixels.dtypes(shapes, takes_pixels), output_name(part)
        workspace = self._device.memory_bytes // _WORKSPACE_SHARE if self._device.integrated else 0
        recipe = Recipe(self.options.precision, _profiles(spec, metadata), workspace)
        label = f"{spec.name}-{metadata.get('dfer_edge.form', '')}-{part}-{self.options.precision}"
        key = cache.Key("engines", label, self._fields(metadata, recipe))

        def write(folder: Path) -> None:
            self._build(label, recipe, folder)

        folder = cache.obtain(key, write)
        try:
            self._runner = self._runner_of(cache_manifest.verified_bytes(folder, _PLAN))
        except CorruptArtifact as error:
            # Whole and ours, yet refused: the driver or the library changed under an unchanged version.
            _LOG.warning("a cached engine does not load, building it again: %s", error)
            self._runner = self._runner_of(cache_manifest.verified_bytes(cache.put(key, write), _PLAN))

    def _fields(self, metadata: Mapping[str, str], recipe: Recipe) -> dict[str, str]:
        data = self.path.with_name(f"{self.path.name}.data")
        return {
            **identity(self._library, self._device),
            "model_sha256": file_sha256(self.path),
            "data_sha256": file_sha256(data) if mapped_bytes(self.path) else "",
            "simplifications": metadata.get("dfer_edge.simplifications", ""),
            "recipe": recipe.to_json(),
        }

    def _runner_of(self, plan: bytes) -> Runner:
        return Runner(self._library, self._cuda, plan, self._shapes, self._dtypes, self._output)

    def _build(self, label: str, recipe: Recipe, folder: Path) -> None:
        """Write the engine, and how far its results are from ONNX Runtime's; raises if they are too far."""
        timing = cache.Key("timing", "tensorrt", identity(self._library, self._device))
        before = self._known_timing(timing)
        _LOG.info("building %s with TensorRT %s for %s", label, self._library.version, self._device.name)
        tracker = Tracker(label)
        plan, after = build(self._library, self.path, recipe, self._shapes, before, folder, tracker)
        (folder / _PLAN).write_bytes(plan)
        # Beyond the first profile's rows, so that every profile has run.
        most = recipe.profiles[0][-1] + 1 if recipe.profiles else self._fixed_rows
        sizes = (1, most) if recipe.profiles else (most,)
        feed = gate_feed(self._shapes, most, dtypes=self._dtypes)
        # First: a board's memory holds one of the two.
        expected = reference(self.path, self._output, recipe.precision, feed)
        with contextlib.closing(self._runner_of(plan)) as runner:
            report = check(self.path, self._output, recipe.precision, feed, expected, runner.run, sizes)
        (folder / "parity.json").write_text(json.dumps(report))
        if after != before:
            self._keep_timing(timing, after)

    @staticmethod
    def _known_timing(key: cache.Key) -> bytes:
        """What earlier builds measured; nothing if it does not read: only this build is slower."""
        try:
            known = cache.find(key)
            return cache_manifest.verified_bytes(known, "timing.cache") if known else b""
        except (CorruptArtifact, OSError) as error:
            _LOG.warning("the timing cache is not used: %s", error)
            return b""

    @staticmethod
    def _keep_timing(key: cache.Key, content: bytes) -> None:
        def write(folder: Path) -> None:
            (folder / "timing.cache").write_bytes(content)

        try:
            cache.put(key, write)
        except DferError as error:
            # Only the next build is slower.
            _LOG.warning("the timing cache was not kept: %s", error)

    def _infer(self, feed: Feed) -> FloatArray:
        # Buffers and context are one: calls from several threads take turns.
        with self._lock:
            return self._runner.run(feed)

    def _keep(self, feed: Feed) -> list[Kept]:
        with self._lock:
            return [Kept(self, slot) for slot in self._runner.keep(feed)]

    def _infer_kept(self, windows: Sequence[Sequence[Kept]]) -> FloatArray:
        owners = {kept.owner for window in windows for kept in window}
        if foreign := [owner for owner in owners if not isinstance(owner, TensorRtEngine)]:
            raise InvalidInput(f"expected features in memory of this device, got some of engine {foreign[0].name}")
        producers = [owner._runner for owner in owners if isinstance(owner, TensorRtEngine)]
        with self._lock:
            return self._runner.run_kept([[kept.value for kept in window] for window in windows], producers)

    def enqueue(self, tensors: Mapping[str, Any], rows: int, stream: int) -> None:
        """Enqueue one inference on device memory and a stream of the caller's; nothing is copied or waited for.

        What a producer says of its stream (version 3 of the interface, CuPy) is waited for on the device; torch says
        nothing: work of another stream on its tensors is the caller's to order.

        Parameters
        ----------
        tensors
            Tensor name -> an address, or an object with ``__cuda_array_interface__`` (torch, CuPy, PyCUDA), of
            contiguous [rows, ...] that begins at a multiple of 256: all inputs, of ``input_dtypes``, and float32
            ``logits`` or ``features`` for the result.
        rows, stream
            See :meth:`dfer_edge.engines.tensorrt.runner.Runner.enqueue`.

        Raises
        ------
        InvalidInput
            For a tensor that is missing, of another shape or dtype, not contiguous or not aligned, for a result that
            is read-only, and for the default stream.
        """
        if self.metadata is None:
            raise InvalidInput("expected an open engine, got one that was closed")
        shapes = {**self._shapes, self._output: self._runner.output_shape}
        addresses, producers = {}, set()
        for name, value in tensors.items():
            shape, dtype = (rows, *shapes.get(name, ())), self._dtypes.get(name, np.dtype(np.float32))
            addresses[name], producer = _address(name, value, shape, dtype, written=name == self._output)
            producers |= {producer} - {None}
        with self._lock:
            for producer in producers if stream else ():
                self._runner.follow(int(producer or 0), stream)
            self._runner.enqueue(addresses, rows, stream)

    def info(self) -> dict[str, Any]:
        """As of every engine, with the library, what the engine is bound to, and whether it runs in CUDA graphs."""
        graphs = f"no: {self._runner.no_graph}" if self._runner.no_graph else "yes"
        return {**super().info(), **identity(self._library, self._device), "cuda_graphs": graphs}

    def _close(self) -> None:
        runner = getattr(self, "_runner", None)
        if runner is not None:
            runner.close()
            del self._runner


def _profiles(spec: ModelSpec, metadata: Mapping[str, str]) -> tuple[tuple[int, int, int], ...]:
    """One profile for a single clip, which is what latency is about, and one for several."""
    if metadata.get("dfer_edge.batch", "dynamic") != "dynamic":
        return ()
    # Image networks score the frames of a clip as rows.
    rows, clips = spec.frames if spec.input == "image" else 1, _MOST_CLIPS[spec.input]
    return (1, rows, rows), (1, rows * clips, rows * clips)


def _address(
    name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[np.generic], written: bool
) -> tuple[int, int | None]:
    """Where an array lies, and the stream that its producer wants waited for."""
    if isinstance(value, int):
        return value, None
    try:
        described: Mapping[str, Any] = value.__cuda_array_interface__
    except AttributeError as error:
        expected = f"expected {name} as an address or an array on the device"
        raise InvalidInput(f"{expected}, got {type(value).__name__}") from error
    found = tuple(described["shape"]), described["typestr"]
    if found != (shape, dtype.str) or not _is_contiguous(shape, described.get("strides"), dtype.itemsize):
        raise InvalidInput(f"expected {name} as contiguous {dtype} {shape}, got {found[1]} {found[0]}")
    address, read_only = described["data"]
    if written and read_only:
        raise InvalidInput(f"expected {name} to write the result into, got a read-only array")
    return int(address), described.get("stream")


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None, size: int) -> bool:
    """Whether elements of ``size`` bytes lie in C order without gaps; the stride of an axis of 1 says nothing."""
    if strides is None:
        return True
    expected = [size * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return all(n == 1 or step == wanted for n, step, wanted in zip(shape, strides, expected, strict=True))
