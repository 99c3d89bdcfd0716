"""A strict recording double of TensorRT 10.3, 10.12, 10.16, 11.0 and 11.1 that computes with ONNX Runtime.

It holds the adapter to the order of calls (parse before build, shapes and addresses before enqueue), to what each
generation has, and to who owns an engine. It proves neither speed nor what the real library computes.
"""

from __future__ import annotations

import json
import sys
import threading
import types
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from dfer_edge.engines.tensorrt import library
from tests.engines.fake_cuda import FakeCuda
from tests.engines.strict_double import Misuse, Strict, World, check_type, enumeration

VERSIONS = {"10.3": "10.3.0", "10.12": "10.12.0", "10.16": "10.16.1", "11.0": "11.0.0", "11.1": "11.1.0"}
_KINDS = {
    "LayerNormalization": "NORMALIZATION",
    "Softmax": "SOFTMAX",
    "Conv": "CONVOLUTION",
    "MatMul": "MATRIX_MULTIPLY",
    "Gemm": "MATRIX_MULTIPLY",
}
_PRECISION_FLAGS = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")


class ILogger:
    """Subclassed by the adapter."""

    _ready = False

    def __init__(self) -> None:
        self._ready = True


class IProgressMonitor(ILogger):
    """Subclassed by the adapter."""


class HostMemory(bytes):
    """What builders return: has a buffer, is no bytes of Python's; enough to be told apart."""


class ITensor(Strict):
    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype

    @property
    def dtype(self) -> Any:
        return self._dtype


class ILayer(Strict):
    def __init__(self, name: str, kind: Any, dtype: Any) -> None:
        self._name, self._type, self._output, self._held, self._precision = name, kind, dtype, {}, None

    type = property(lambda self: self._type)
    num_outputs = property(lambda self: 1)

    @property
    def name(self) -> str:
        return self._name

    def get_output(self, index: int) -> ITensor:
        return self._make(ITensor, self._output)

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._held[index] = dtype

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "precision":
            if "precision" not in self._world.members("ILayer"):
                raise AttributeError(f"TensorRT {self._world.generation}: ILayer has no precision")
            if not self._world.weak:
                raise Misuse("a precision constraint in a strongly typed network")
            self._precision = value
        else:
            super().__setattr__(name, value)


class INetworkDefinition(Strict):
    def __init__(self, flags: int) -> None:
        self._flags, self._model, self._layers = flags, None, []

    num_layers = property(lambda self: len(self._layers))

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]

    @property
    def _quantised(self) -> bool:
        return any(node.op_type == "QuantizeLinear" for node in self._model.graph.node)


class ParserError(Strict):
    def desc(self) -> str:
        return self._reason


class OnnxParser(Strict):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        check_type("OnnxParser(network)", network, INetworkDefinition)
        self._network, self._errors = network, []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        error = self._make(ParserError)
        error._reason = self._errors[index]
        return error

    def parse_from_file(self, model: str) -> bool:
        self._network._model = loaded = onnx.load(model)
        unknown = [node.op_type for node in loaded.graph.node if node.domain not in ("", "ai.onnx")]
        if unknown:
            self._errors.append(f"no importer for {unknown[0]}")
            return False
        trt = self._world.trt
        weights = {tensor.name: tensor.data_type for tensor in loaded.graph.initializer}
        self._network._layers = layers = []
        for node in loaded.graph.node:
            kind = getattr(trt.LayerType, _KINDS.get(node.op_type, "SHUFFLE"))
            half = any(weights.get(name) == onnx.TensorProto.FLOAT16 for name in node.input)
            names = [node.name, f"{node.name}_{len(layers)}"] if node.op_type in _KINDS else [node.name]
            dtype = trt.DataType.HALF if half else trt.DataType.FLOAT
            layers += [self._make(ILayer, name, kind, dtype) for name in names]
        return True


class IOptimizationProfile(Strict):
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: tuple | list, opt: tuple | list, max: tuple | list) -> None:  # noqa: A002
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise RuntimeError("Shape provided for opt is inconsistent with other shapes.")
        self._shapes[input] = tuple(map(tuple, (min, opt, max)))


class ITimingCache(Strict):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> HostMemory:
        return HostMemory(self._content)


class IBuilderConfig(Strict):
    _settable = {"progress_monitor": IProgressMonitor}  # noqa: RUF012

    def __init__(self) -> None:
        self._set, self._profiles, self._timing, self._limits = {"TF32"}, [], None, {}

    def set_flag(self, flag: Any) -> None:
        self._check(flag)
        if flag.name in _PRECISION_FLAGS and not self._world.weak:
            raise Misuse(f"BuilderFlag.{flag.name} is deprecated in {self._world.generation}")
        self._set.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._check(flag)
        self._set.discard(flag.name)

    def _check(self, flag: Any) -> None:
        check_type("flag", flag, self._world.trt.BuilderFlag)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        check_type("pool", pool, self._world.trt.MemoryPoolType)
        self._limits[pool.name] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes | bytearray | memoryview) -> ITimingCache:
        return self._make(ITimingCache, bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        theirs = cache._content.split(b"|")[0]
        if theirs and theirs != self._world.version.encode():
            return False
        self._timing = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._timing


def refuse(world: World, kind: str) -> None:
    """As pybind11 answers a factory that returns nothing."""
    if kind in world.unmade:
        raise TypeError("pybind11::init(): factory function returned nullptr")


class Builder(Strict):
    def __init__(self, logger: ILogger) -> None:
        refuse(self._world, "Builder")
        if not getattr(logger, "_ready", False):
            raise TypeError("ILogger.__init__() must be called when overriding __init__")
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        strong = 1 << int(self._world.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        expected = strong if self._world.generation.startswith("10.") and not self._world.weak else 0
        if flags != expected:
            raise Misuse(f"expected network flags {expected} in {self._world.generation}, got {flags}")
        return self._make(INetworkDefinition, flags)

    def create_builder_config(self) -> IBuilderConfig:
        return self._make(IBuilderConfig)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return self._make(IOptimizationProfile)

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> HostMemory | None:
        reason = self._refusal(network, config)
        if reason:
            self._logger.log(self._world.trt.ILogger.Severity.ERROR, reason)
            return None
        if not self._progress(config):
            return None
        if config._timing is not None:
            config._timing._content = self._world.version.encode() + b"|timings"
        header = {
            "version": self._world.version,
            "gpu": self._world.cuda.name,
            "profiles": [profile._shapes for profile in config._profiles],
            "flags": sorted(config._set),
            "limits": config._limits,
        }
        self._world.layers = network._layers
        return HostMemory(json.dumps(header).encode() + b"\n" + network._model.SerializeToString())

    def _refusal(self, network: INetworkDefinition, config: IBuilderConfig) -> str:
        if network._model is None:
            return "Network must have at least one output"
        if self._world.fail:
            return self._world.fail
        if network._quantised and self._world.weak and "INT8" not in config._set:
            return "Int8 precision has not been set but the network has Q/DQ layers"
        dynamic = [v.name for v in network._model.graph.input if v.type.tensor_type.shape.dim[0].dim_param]
        if dynamic and not config._profiles:
            return "Network has dynamic or shape inputs, but no optimization profile has been defined."
        if any(set(profile._shapes) != set(dynamic) for profile in config._profiles):
            return f"each profile must give the shapes of {dynamic}"
        try:
            session(network._model)
        except Exception as error:  # types that do not fit are what a strongly typed network refuses
            return str(error)
        return ""

    def _progress(self, config: IBuilderConfig) -> bool:
        """Nested phases, told from another thread, as the library does."""
        monitor, going = config.progress_monitor, []

        def tell() -> None:
            monitor.phase_start("Building", None, 2)
            for step in range(2):
                monitor.phase_start("Timing", "Building", 4)
                going.extend(monitor.step_complete("Timing", inner) for inner in range(4))
                monitor.phase_finish("Timing")
                going.append(monitor.step_complete("Building", step))
            monitor.phase_finish("Building")

        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()
        assert all(type(answer) is bool for answer in going)
        assert len(going) == 10
        return all(going)


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Runtime(Strict):
    _settable = {"engine_host_code_allowed": bool}  # noqa: RUF012

    def __init__(self, logger: ILogger) -> None:
        refuse(self._world, "Runtime")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes | bytearray | memoryview) -> Any:
        if ("Runtime", "engine_host_code_allowed", (False,)) not in self._world.calls:
            raise Misuse("an engine is loaded before host code is forbidden")
        head, _, model = bytes(serialized_engine).partition(b"\n")
        try:
            header = json.loads(head)
            fits = (header["version"], header["gpu"]) == (self._world.version, self._world.cuda.name)
        except (ValueError, KeyError):
            fits = False
        if not fits:
            self._logger.log(self._world.trt.ILogger.Severity.ERROR, "the engine is not of this library and device")
            return None
        return self._make(ICudaEngine, header, onnx.load_from_string(model))


class ICudaEngine(Strict):
    def __init__(self, header: dict[str, Any], model: onnx.ModelProto) -> None:
        self._header, self._session = header, session(model)
        self._ports = {value.name: value for value in (*model.graph.input, *model.graph.output)}
        self._inputs = [value.name for value in model.graph.input]

    num_io_tensors = property(lambda self: len(self._ports))
    num_optimization_profiles = property(lambda self: max(1, len(self._header["profiles"])))

    def get_tensor_name(self, index: int) -> str:
        return list(self._ports)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._world.trt.TensorIOMode
        return modes.INPUT if name in self._inputs else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self._ports[name].type.tensor_type.elem_type
        trt = self._world.trt
        return {1: trt.float32, 2: trt.uint8, 10: trt.float16}[kind]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if dim.dim_param else dim.dim_value for dim in self._ports[name].type.tensor_type.shape.dim)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._header["profiles"][profile_index][name]]

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        profiles = self._header["profiles"]
        rows = max(shape[2][0] for shape in profiles[profile_index].values()) if profiles else 1
        return rows * self._world.scratch_per_row

    def create_execution_context(self, strategy: Any = None) -> Any:
        check_type("strategy", strategy, self._world.trt.ExecutionContextAllocationStrategy)
        if strategy.name != "USER_MANAGED":
            raise Misuse(
                f"a context of {strategy.name} takes scratch memory for all profiles, and each context its own"
            )
        return self._make(IExecutionContext, self)


class IExecutionContext(Strict):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._profile, self._shapes, self._addresses = engine, 0, {}, {}
        self._scratch = (0, 0)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = None  # until the stream has got there
        self._shapes = {}
        self._world.cuda.push(stream_handle, lambda: setattr(self, "_profile", profile_index))
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if memory % 256 or not self._world.cuda.within(memory, size, ("device",)):
            raise Misuse(f"{size} bytes at {memory} are no aligned memory of the device")
        self._scratch = memory, size

    def set_input_shape(self, name: str, shape: tuple | list) -> bool:
        if self._profile is None:
            raise Misuse("a shape is set while the profile is being switched")
        profiles = self._engine._header["profiles"]
        if profiles:
            least, _, most = profiles[self._profile][name]
            if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
                return False
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if memory % 256:
            raise Misuse(f"the address {memory} of {name} is not aligned to 256 bytes")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        world, inputs = self._world, self._engine._inputs
        if stream_handle == 0:
            raise Misuse("inference on the default stream")
        if set(self._shapes) != set(inputs):
            raise Misuse(f"enqueued with the shapes of {sorted(self._shapes)} set, of {inputs} needed")
        if set(self._addresses) != set(self._engine._ports):
            raise Misuse(f"enqueued with the addresses of {sorted(self._addresses)} only")
        shapes, addresses, (scratch, size) = dict(self._shapes), dict(self._addresses), self._scratch
        needed = self._engine.get_device_memory_size_for_profile_v2(self._profile)
        if size < needed:
            raise Misuse(f"enqueued with {size} bytes of device memory, of {needed} needed")

        def execute() -> None:
            assert world.cuda.within(scratch, size, ("device",)), "scratch memory was given back"
            kinds = {name: self._engine._ports[name].type.tensor_type.elem_type for name in inputs}
            dtypes = {name: onnx.helper.tensor_dtype_to_np_dtype(kind).type for name, kind in kinds.items()}
            feed = {name: world.cuda.view(addresses[name], shapes[name], dtypes[name]).copy() for name in inputs}
            (result,) = self._engine._session.run(None, feed)
            output = next(name for name in addresses if name not in inputs)
            world.cuda.view(addresses[output], result.shape)[...] = result + np.float32(world.error)

        # Two contexts on one block of scratch memory, or one context on two streams, may not run at a time.
        world.cuda.push(stream_handle, execute, frozenset({("scratch", scratch), ("context", id(self))}))
        return True


_CLASSES = (Builder, OnnxParser, Runtime, ILogger, IProgressMonitor)
_ENUMS = (
    "BuilderFlag",
    "NetworkDefinitionCreationFlag",
    "LayerType",
    "TensorIOMode",
    "DataType",
    "ExecutionContextAllocationStrategy",
    "MemoryPoolType",
)


def module(world: World) -> types.ModuleType:
    """The module ``tensorrt`` of a world."""
    trt = types.ModuleType("tensorrt")
    trt.__version__ = world.version
    trt.__spec__ = types.SimpleNamespace(origin="simulated")
    for cls in _CLASSES:
        setattr(trt, cls.__name__, type(cls.__name__, (cls,), {"_world": world}))
    for name in _ENUMS:
        setattr(trt, name, enumeration(world, name))
    severities = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    trt.ILogger.Severity = types.SimpleNamespace(**{name: index for index, name in enumerate(severities)})
    trt.float32, trt.float16, trt.uint8 = trt.DataType.FLOAT, trt.DataType.HALF, trt.DataType.UINT8
    return trt


def install(patch: pytest.MonkeyPatch, generation: str, cuda: FakeCuda | None = None) -> World:
    """Put a simulated library and GPU where the adapter looks for real ones; the version says that it is simulated."""
    # It holds each library it met; of a double that is its networks, and there are hundreds.
    library._logger.cache_clear()
    cuda = cuda or FakeCuda()
    world = World(generation, f"{VERSIONS[generation]}+simulated", cuda)
    world.fail, world.error, world.layers = "", 0.0, []
    world.trt = module(world)
    patch.setitem(sys.modules, "tensorrt", world.trt)
    for name in ("cuda", "cuda.bindings"):
        patch.setitem(sys.modules, name, types.ModuleType(name))
    patch.setitem(sys.modules, "cuda.bindings.runtime", cuda.module())
    return world
