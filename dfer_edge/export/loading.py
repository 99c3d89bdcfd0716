"""From a name, weights and wishes to a running engine: finds ranges for int8, lets the planner choose, exports."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dfer_edge.calibration.table import RangeTable
from dfer_edge.engines import (
    Choice,
    best_form,
    check_names,
    choose,
    file_precision,
    load_engine,
    planner,
    precision_reasons,
    reasons,
    runs_on_gpu,
)
from dfer_edge.engines.base import Engine
from dfer_edge.errors import CalibrationError, CorruptArtifact, DferError, InvalidInput, PrecisionUnavailable
from dfer_edge.export import artifacts
from dfer_edge.inference import Part, registry
from dfer_edge.weights import file as weights_files
from dfer_edge.weights.file import Weights

if TYPE_CHECKING:
    from dfer_edge.calibration.qdq import Scheme

_LOG = logging.getLogger("dfer_edge")

# What x86's int8 products take without a correction; every other engine reads the symmetric form.
SCHEMES: dict[str, Scheme] = {"openvino": "unsigned"}
# Int8 tensor cores take 32 channels at a time: others are rounded up with zeros, which is exact.
PADDING = {"tensorrt": 32}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a caller asked for; see :class:`dfer_edge.Recognizer`."""

    name: str
    weights: str | Path
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    calibration: str | Path | None = None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An engine, and why others were not taken (empty unless they were measured)."""

    engine: Engine
    lost: Mapping[str, str] = dataclasses.field(default_factory=dict)


def load(request: Request) -> Loaded:
    """Make the engine that a request means.

    Raises
    ------
    InvalidInput, WeightsNotFound, EngineUnavailable, PrecisionUnavailable, CorruptArtifact, CalibrationError
    """
    check_names(request.engine, request.precision, request.device)
    if Path(request.weights).suffix == ".onnx":
        return Loaded(_load_file(request))
    source = weights_files.resolve(request.name, request.weights)
    table = _table(request, source)
    if request.precision == "auto" and table is not None and _int8_competes(request):
        found = planner.plan(
            lambda choice: _build(source, table, choice, request),
            table.accuracy,
            _fields(source, table),
            request.engine,
            request.threads,
            device="cuda" if _on_gpu(request) else "cpu",
        )
        return Loaded(_build(source, table, found.choice, request), found.lost)
    choice = choose(request.engine, request.precision, request.device)
    if choice.precision == "int8" and table is None:
        raise PrecisionUnavailable(
            f"int8 needs ranges of {request.name} with weights {source.name}, and there are none",
            f"dfer-edge calibrate {request.name} --weights {request.weights} --clips FOLDER --out FILE, then "
            "calibration=FILE (--calibration FILE)",
        )
    return Loaded(_build(source, table, choice, request))


def require_whole(engine: Engine, name: str) -> None:
    """Raises InvalidInput unless a user's file is the whole network ``name`` with a batch that follows the faces."""
    if engine.part != "whole":
        reason = f"expected an ONNX file of the whole network, got its {engine.part} part in {engine.path}"
        raise InvalidInput(reason, "dfer_edge.flow.streaming runs parts")
    if engine.spec.name != name:
        raise InvalidInput(f"expected an ONNX file of {name}, got one of {engine.spec.name} in {engine.path}")
    if engine.batch is not None:
        reason = f"expected an ONNX file with a dynamic batch, got a fixed one of {engine.batch} in {engine.path}"
        raise InvalidInput(reason, "export it without --batch, or run it with load_engine")


def load_parts(request: Request, whole: Engine) -> tuple[Engine, Engine] | None:
    """The parts ``features`` and ``head`` of a loaded network, on the same engine, precision, device and threads.

    Parameters
    ----------
    request
        What ``whole`` was loaded for.
    whole
        Stays as it is; the parts have weights of their own in memory.

    Returns
    -------
    None, with the reason in the log, for a network without such parts, an ``.onnx`` file, or an engine that would carry
    features through host memory to a GPU, and, as a warning, if they cannot be loaded: they spare time and change no
    result, and ``whole`` runs.
    """
    reasons_whole = {
        registry.find(whole.spec.name).no_steps: not registry.find(whole.spec.name).frames_per_step,
        "an .onnx file has no parts": Path(request.weights).suffix == ".onnx",
        # Larger than the clip itself, they would pass through host memory twice.
        "this engine does not keep features on the device": whole.options.device == "cuda"
        and not whole.keeps_on_device,
    }
    if reason := next((text for text, holds in reasons_whole.items() if holds), None):
        _LOG.info("overlapping windows of %s are computed one by one: %s", request.name, reason)
        return None
    choice = Choice(whole.name, whole.options.precision)
    try:
        source = weights_files.resolve(request.name, request.weights)
        if source.sha256 != whole.weights_sha256:
            raise InvalidInput(f"expected the weights that were loaded, {source.name} has changed since")
        table = _table(request, source) if choice.precision == "int8" else None
        return _build(source, table, choice, request, "features"), _build(source, table, choice, request, "head")
    except DferError as error:
        _LOG.warning("overlapping windows of %s are computed one by one: %s", request.name, error)
        return None


def load_embedding(request: Request, whole: Engine) -> Engine:
    """The part ``embedding`` of a loaded network, on the same engine, precision, device and threads.

    Raises
    ------
    InvalidInput
        For an ``.onnx`` file, which holds no other part, and if the weights changed since ``whole`` was loaded.
    DferError
        As :func:`load`.
    """
    if Path(request.weights).suffix == ".onnx":
        reason = f"expected weights that a part can be exported from, got the finished network {request.weights}"
        raise InvalidInput(reason, "pass the .safetensors file, or export --part embedding and use load_engine")
    source, choice = weights_files.resolve(request.name, request.weights), Choice(whole.name, whole.options.precision)
    if source.sha256 != whole.weights_sha256:
        raise InvalidInput(f"expected the weights that were loaded, {source.name} has changed since")
    table = _table(request, source) if choice.precision == "int8" else None
    return _build(source, table, choice, dataclasses.replace(request, device=whole.options.device), "embedding")


def _load_file(request: Request) -> Engine:
    if request.calibration is not None:
        reason = f"expected no calibration for {request.weights}: an .onnx file carries its own scales, or has none"
        raise InvalidInput(reason, "dfer-edge export --int8 --ranges FILE writes one with scales")
    precision = request.precision
    if precision == "auto" and Path(request.weights).is_file():
        found = file_precision(request.weights)
        precision = found if found == "int8" else "auto"
    choice = choose(request.engine, precision, request.device)
    return load_engine(request.weights, choice.engine, choice.precision, request.device, request.threads)


def _table(request: Request, source: Weights) -> RangeTable | None:
    path = request.calibration
    if path is None and request.precision in ("int8", "auto"):
        path = weights_files.ranges_beside(request.name, request.weights)
    if path is None:
        return None
    table = RangeTable.load(path)
    try:
        table.require(weights_files.identity(source), f"{request.name}, {source.name}")
    except CalibrationError as error:
        if request.calibration is not None:
            raise
        # Weights were trained on; ranges of before would be wrong without anybody asking for them.
        _LOG.warning("%s is not used: %s", path, error)
        return None
    return table


def _on_gpu(request: Request) -> bool:
    return runs_on_gpu(request.engine, request.device)


def _int8_competes(request: Request) -> bool:
    engine = "tensorrt" if _on_gpu(request) else "openvino"
    return request.engine in ("auto", engine) and not reasons(engine) and not precision_reasons(engine)["int8"]


def _fields(source: Weights, table: RangeTable) -> dict[str, str]:
    return {"model": source.spec.name, "weights_sha256": source.sha256, "ranges_sha256": table.sha256}


def _build(source: Weights, table: RangeTable | None, choice: Choice, request: Request, part: Part = "whole") -> Engine:
    # Bytes go over the bus, and the device normalises them.
    of_pixels = runs_on_gpu(choice.engine, request.device) and part != "head"

    def prepare() -> Path:
        if choice.precision == "int8" and table is not None:
            scheme, pad_to = SCHEMES.get(choice.engine, "symmetric"), PADDING.get(choice.engine)
            form = best_form(choice, source.spec)
            return artifacts.prepare_int8(source, form, table, scheme, pad_to, part, of_pixels)
        return artifacts.prepare(source, best_form(choice, source.spec), part, of_pixels)

    path = prepare()
    try:
        return load_engine(path, choice.engine, choice.precision, request.device, request.threads)
    except CorruptArtifact as error:
        if not artifacts.discard(path):
            raise
        _LOG.warning("a cached network is damaged, exporting it again: %s", error)
    return load_engine(prepare(), choice.engine, choice.precision, request.device, request.threads)
