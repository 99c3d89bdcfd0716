"""``dfer-edge doctor --self-test tensorrt``: every network at every precision on this board, in one table to send in.

Built, not yet run on hardware: the first run on a board proves the engine or shows where it breaks.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dfer_edge
from dfer_edge.cache import store as cache
from dfer_edge.calibration import RangeTable, calibrate
from dfer_edge.calibration.clip_set import LEAST_CLIPS
from dfer_edge.engines import file_precision, load_engine
from dfer_edge.engines.base import Engine
from dfer_edge.engines.cuda_memory import open_cuda
from dfer_edge.engines.tensorrt import forms as tensorrt_forms
from dfer_edge.engines.tensorrt import gate as tensorrt_gate
from dfer_edge.engines.tensorrt import library as tensorrt_library
from dfer_edge.engines.tensorrt.engine import identity
from dfer_edge.errors import DferError
from dfer_edge.export import artifacts
from dfer_edge.export.loading import PADDING
from dfer_edge.inference import Form, record
from dfer_edge.inference.parts import input_shapes
from dfer_edge.models import list_models
from dfer_edge.system import board
from dfer_edge.weights import file as weights
from dfer_edge.weights.file import Weights

PRECISIONS = ("fp32", "fp16", "int8")
# Another seed than the gate's that an engine has passed already, and more rows than its first profile takes.
_SEED, _EXTRA_ROWS = 1, 2
SHIPPED, NOISE = "shipped", "noise: build, parity and speed only"


@dataclasses.dataclass
class Row:
    """One network at one precision in one form.

    Attributes
    ----------
    result
        ``pass``, ``fail`` or ``skip``; ``reason`` says why not pass.
    build_s
        Seconds to build and check the engine.
    difference, tolerance
        From ONNX Runtime on the same input: see :func:`dfer_edge.engines.tensorrt.gate.disagreement`.
    latency_ms, p90_ms
        Of one clip, host to host.
    weights
        Name of the weights: speed and parity do not need trained ones.
    ranges
        Of int8: :data:`SHIPPED`, of the user's file, or of :data:`NOISE` where there are none, which says nothing about
        accuracy.
    """

    model: str
    precision: str
    form: str
    result: str = "skip"
    reason: str = ""
    build_s: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    latency_ms: float | None = None
    p90_ms: float | None = None
    weights: str = ""
    ranges: str = ""


def run(
    models: Iterable[str] | None = None,
    precisions: Iterable[str] = PRECISIONS,
    forms: Iterable[Form] = ("2d",),
    quantised: Path | None = None,
    samples: int = 200,
    report: Callable[[dict[str, Any]], None] = lambda so_far: None,
) -> dict[str, Any]:
    """Build, check and time.

    Parameters
    ----------
    models
        Names; all if None.
    precisions
        Out of ``fp32``, ``fp16``, ``int8``.
    forms
        Of convolutions over time; of several, the fastest is remembered for this device.
    quantised
        Folder with a Q/DQ file ``MODEL.onnx`` for each network that int8 is tested with; without it the networks are
        quantised here.
    samples
        Timed runs.
    report
        Called after each row with the result so far.

    Returns
    -------
    What goes into the JSON: versions, board, and ``rows``.

    Raises
    ------
    EngineUnavailable
        If TensorRT or the device cannot be used at all.
    """
    library, cuda = tensorrt_library.load(), open_cuda()
    result: dict[str, Any] = {
        "self_test": "tensorrt",
        # A double's version says so itself: its numbers are of no device.
        "simulated": "simulated" in library.version,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dfer_edge": dfer_edge.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "board": board.name(),
        **identity(library, cuda.device()),
        "rows": [],
    }
    for model in models or list_models():
        for precision in precisions:
            for row in _network(model, precision, tuple(forms), quantised, samples):
                result["rows"].append(dataclasses.asdict(row))
                report(result)
    return result


def _network(
    model: str, precision: str, forms: tuple[Form, ...], quantised: Path | None, samples: int
) -> Iterable[Row]:
    if precision == "int8" and quantised is not None:
        yield _of_file(Row(model, precision, "file", weights="of the file", ranges="of the file"), quantised, samples)
        return
    source = weights.resolve(model, "default" if weights.shipped(model) else "random")
    measured: dict[Form, float] = {}
    ranges = functools.cache(lambda: _ranges(source))

    def prepare(row: Row, form: Form) -> Path:
        if precision != "int8":
            return artifacts.prepare(source, form)
        table, row.ranges = ranges()
        return artifacts.prepare_int8(source, form, table, pad_to=PADDING["tensorrt"])

    for form in _distinct(source, forms):
        row = Row(model, precision, form, weights=source.name)
        with cache.publications() as made:
            _try(row, functools.partial(prepare, row, form), samples)
        _forget(made)
        if row.result == "pass" and row.latency_ms is not None:
            measured[form] = row.latency_ms
        yield row
    if len(measured) > 1:
        tensorrt_forms.remember(source.spec, precision, measured)


def _of_file(row: Row, folder: Path, samples: int) -> Row:
    path = folder / f"{row.model}.onnx"
    if path.is_file():
        _try(row, lambda: path, samples)
    else:
        row.reason = f"no Q/DQ file {path}"
    return row


def _ranges(source: Weights) -> tuple[RangeTable, str]:
    """Those that ship with the weights; else of noise, which the gate and the clock run on too."""
    shipped = weights.ranges_beside(source.spec.name, source.name)
    if shipped is not None:
        return RangeTable.load(shipped), SHIPPED
    path = artifacts.prepare(source, "2d")
    shapes = input_shapes(source.spec)
    rows = source.spec.frames if source.spec.input == "image" else 1
    feeds = [tensorrt_gate.gate_feed(shapes, rows, seed) for seed in range(LEAST_CLIPS)]
    return calibrate(path, feeds, "minmax"), NOISE


def _distinct(source: Weights, forms: tuple[Form, ...]) -> list[Form]:
    """Forms that are different graphs: networks without a convolution over time have one."""
    seen: list[Any] = []
    kept: list[Form] = []
    for form in forms:
        nodes = record(source.spec, form)[0].nodes
        if nodes not in seen:
            seen.append(nodes)
            kept.append(form)
    return kept


def _try(row: Row, prepare: Callable[[], Path], samples: int) -> None:
    """Fill a row; whatever goes wrong is its reason, and the next row is tried."""
    try:
        path, start = prepare(), time.perf_counter()
        with load_engine(path, "tensorrt", row.precision, "cuda") as engine:
            row.build_s = time.perf_counter() - start
            _compare(row, path, engine)
            times = tensorrt_forms.latencies_ms({"2d": engine}, samples)["2d"]
        row.latency_ms = statistics.median(times)
        row.p90_ms = sorted(times)[int(0.9 * len(times))]
    except DferError as error:
        row.result, row.reason = "fail", str(error)
    except Exception as error:  # the library's own: that is what the test is for
        row.result, row.reason = "fail", f"{type(error).__name__}: {error}"


def _compare(row: Row, path: Path, engine: Engine) -> None:
    feed = tensorrt_gate.gate_feed(engine.input_shapes, engine.batch or _EXTRA_ROWS + 1, _SEED)
    # A Q/DQ file is simulated, any other runs as it is.
    exact = "int8" if file_precision(path) == "int8" else "fp32"
    with load_engine(path, "onnxruntime", exact, "cpu") as reference:
        expected = reference.infer(feed)
    (output,) = expected
    row.tolerance = tensorrt_gate.TOLERANCE[row.precision]
    row.difference = tensorrt_gate.disagreement(output, expected[output], engine.infer(feed)[output])
    row.result = "pass" if row.difference <= row.tolerance else "fail"
    row.reason = "" if row.result == "pass" else "too far from ONNX Runtime"


def _forget(made: Iterable[Path]) -> None:
    """Remove what the test itself put on the disk; timing caches and choices stay."""
    for path in made:
        if path.parent.name in ("networks", "engines"):
            cache.discard(path)
