"""From an exported file to an engine that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dfer_edge.engines.base import Engine, EngineOptions
from dfer_edge.engines.choosing import choose
from dfer_edge.engines.registry import MAX_THREADS, TABLE
from dfer_edge.errors import InvalidInput, WeightsNotFound


def load_engine(
    path: str | Path,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    kernels: Literal["auto", "all", "none"] = "auto",
) -> Engine:
    """Load an exported ONNX file.

    Parameters
    ----------
    path
        Written by :func:`dfer_edge.export.export_onnx`.
    backend, precision, device
        See :func:`choose`; precision ``auto`` of a Q/DQ file is int8, and it is not loaded as anything else.
    threads
        CPU threads; the cores this process may use if None.
    kernels
        See :class:`EngineOptions`.

    Returns
    -------
    A context manager with ``infer(dict) -> dict``; see :class:`Engine`.

    Raises
    ------
    InvalidInput, WeightsNotFound, EngineUnavailable, PrecisionUnavailable, CorruptArtifact
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFound(f"expected an ONNX file, found nothing at {path}")
    if threads is not None and not (type(threads) is int and 1 <= threads <= MAX_THREADS):
        raise InvalidInput(f"expected 1 to {MAX_THREADS} threads, got {threads!r}")
    if precision == "auto" and file_precision(path) == "int8":
        precision = "int8"
    choice = choose(backend, precision, device)
    entry = TABLE[choice.engine]
    options = EngineOptions(choice.precision, entry.devices[0] if device == "auto" else device, threads, kernels)
    engine: Engine = getattr(entry.load(), entry.kind)(path, options)
    return engine


def file_precision(path: str | Path) -> str:
    """``int8`` for a file that :func:`dfer_edge.calibration.quantize` wrote, else ``fp32``."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return "fp32"
    return next((entry.value for entry in model.metadata_props if entry.key == "dfer_edge.precision"), "fp32")
