"""From an ONNX file to a TensorRT engine, on any generation of the library. Built, not yet run on hardware."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from dfer_edge.engines import mixed_precision
from dfer_edge.engines.external import header
from dfer_edge.engines.tensorrt.build_progress import Tracker
from dfer_edge.engines.tensorrt.library import Library, Messages
from dfer_edge.errors import EngineUnavailable

# Part of every engine's key: raise it when this file builds something else from the same request.
REVISION = "2"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is asked of the builder.

    Attributes
    ----------
    precision
        ``fp32``, ``fp16``, or ``int8`` for a Q/DQ file, whose other layers then run in fp16.
    profiles
        Least, usual and most rows of each optimisation profile; empty for a file with a fixed batch.
    workspace
        Most bytes of scratch memory that a layer may ask for; 0 leaves it to the library, which takes all there is.
    """

    precision: str
    profiles: tuple[tuple[int, int, int], ...]
    workspace: int = 0

    def to_json(self) -> str:
        return json.dumps([REVISION, self.precision, self.profiles, self.workspace])


def build(
    library: Library,
    source: Path,
    recipe: Recipe,
    shapes: dict[str, tuple[int, ...]],
    timing: bytes,
    scratch: Path,
    tracker: Tracker,
) -> tuple[bytes, bytes]:
    """Build an engine.

    Parameters
    ----------
    library
        Of the device that will run it.
    source
        fp32 ONNX file, with Q/DQ for int8.
    recipe
        Precision and batch sizes.
    shapes
        Input name -> shape without the batch axis.
    timing
        A serialised timing cache, or nothing.
    scratch
        Empty folder; a converted model is written there and removed.
    tracker
        Follows the build, may cancel it.

    Returns
    -------
    The serialised engine and the timing cache, empty of TensorRT-RTX.

    Raises
    ------
    EngineUnavailable
        If the library makes no builder, does not read the file, or builds no engine; with what it said.
    PrecisionUnavailable
        If a weight is beyond fp16.
    KeyboardInterrupt
        If the user interrupted the build.
    """
    trt, messages = library.trt, Messages(library)
    builder = library.make("Builder", messages)
    network = builder.create_network(library.network_flags)
    typed = scratch / "typed.onnx"
    if library.strongly_typed and recipe.precision != "fp32":
        mixed_precision.write_half(source, typed)
    parsed = typed if typed.is_file() else source
    _parse(library, messages, network, parsed, source)
    config = builder.create_builder_config()
    # fp32 means fp32: the tensor cores' 10-bit products are a precision of their own.
    config.clear_flag(trt.BuilderFlag.TF32)
    library.aim(config)
    if recipe.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace)
    if not library.strongly_typed:
        _ask_for(library, network, config, recipe.precision, source)
    for rows in recipe.profiles:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, *((count, *shape) for count in rows))
        config.add_optimization_profile(profile)
    if not library.target:  # TensorRT-RTX times nothing: it compiles on the device
        cache = config.create_timing_cache(timing)
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
    config.progress_monitor = _monitor(library, tracker)
    plan = builder.build_serialized_network(network, config)
    for path in (typed, typed.with_name("typed.onnx.data")):
        path.unlink(missing_ok=True)
    if tracker.cancelled:
        raise KeyboardInterrupt
    if plan is None:
        said = messages.take()
        raise EngineUnavailable(
            f"{library.name} {library.version} built no {recipe.precision} engine of {source}: {said}"
        )
    return bytes(plan), b"" if library.target else bytes(config.get_timing_cache().serialize())


def _parse(library: Library, messages: Messages, network: Any, path: Path, source: Path) -> None:
    parser = library.trt.OnnxParser(network, messages.logger)
    if parser.parse_from_file(str(path)):
        return
    errors = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
    reason = "; ".join(errors) or messages.take()
    raise EngineUnavailable(f"{library.name} {library.version} does not read {source}: {reason}")


def _ask_for(library: Library, network: Any, config: Any, precision: str, source: Path) -> None:
    """Precision by flags, with fp32 islands held by constraints on their layers."""
    trt = library.trt
    if precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        # Ranges are in the file: no calibrator.
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    model = header(source)
    wide = mixed_precision.islands(model)
    names = {node.name for node in model.graph.node if node.name and node.output[0] in wide}
    kinds = (trt.LayerType.NORMALIZATION, trt.LayerType.SOFTMAX)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in kinds or _stem(layer.name) in names:
            _hold_at_fp32(trt, layer)


def _hold_at_fp32(trt: Any, layer: Any) -> None:
    outputs = [index for index in range(layer.num_outputs) if layer.get_output(index).dtype == trt.float32]
    if not outputs or layer.type in (trt.LayerType.CONSTANT, trt.LayerType.CAST):
        return
    layer.precision = trt.float32
    for index in outputs:
        layer.set_output_type(index, trt.float32)


def _stem(name: str) -> str:
    """The ONNX node of a layer: the parser numbers further layers of a node, ``softmax_7_12``."""
    parts = name.split("_")
    return "_".join(parts[:2]) if len(parts) > 2 and all(part.isdigit() for part in parts[1:]) else name


def _monitor(library: Library, tracker: Tracker) -> Any:
    """The library's own progress interface onto a tracker; it calls from several threads."""

    class Monitor(library.trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tracker.phase_started(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tracker.step_done(phase_name, step)
            return not tracker.cancelled

        def phase_finish(self, phase_name: str) -> None:
            tracker.phase_finished(phase_name)

    return Monitor()
