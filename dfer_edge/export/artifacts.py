"""Exported networks in the cache: written once per weights, form and part, and once more for each ranges file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from dfer_edge._version import __version__
from dfer_edge.cache import store as cache
from dfer_edge.confidence import NOTE
from dfer_edge.export import onnx_file as export
from dfer_edge.inference import Form, Part, SymbolicGraph, pixels, record
from dfer_edge.weights.file import Weights

if TYPE_CHECKING:
    from dfer_edge.calibration import RangeTable
    from dfer_edge.calibration.qdq import Scheme

FILE = "model.onnx"
_QUANTISER, _WRITER = "3", "3"
"""Raised when the same ranges, or weights, give other bytes than before: cached files are then written anew."""


def prepare(source: Weights, form: Form, part: Part = "whole", of_pixels: bool = False) -> Path:
    """Path of the ONNX file of ``source`` in ``form``, exported now if the cache has none that verifies.

    ``of_pixels``: it reads uint8 crops (:mod:`dfer_edge.inference.pixels`).

    Raises
    ------
    DferError
        If the cache folder cannot be written; the hint names the variable that moves it.
    InvalidInput
        If the weights do not fit their network.
    """

    def build(folder: Path) -> None:
        export.write(source, folder / FILE, form, external=True, part=part)
        if of_pixels:
            pixels.take_pixels(folder / FILE)

    return cache.obtain(_of_pixels(key(source, form, part), of_pixels), build) / FILE


def prepare_int8(
    source: Weights,
    form: Form,
    table: RangeTable,
    scheme: Scheme = "symmetric",
    pad_to: int | None = None,
    part: Part = "whole",
    of_pixels: bool = False,
) -> Path:
    """Path of the Q/DQ file of ``source`` or a part of it, written now if the cache lacks it.

    ``table``, ``scheme`` and ``pad_to`` are those of :func:`dfer_edge.calibration.quantize`, ``of_pixels`` as in
    :func:`prepare`.

    Raises
    ------
    CalibrationError
        If the ranges belong to other weights.
    DferError, InvalidInput
        As :func:`prepare`.
    """
    entry = key(source, form, part)
    options = {"scheme": scheme, "pad_to": str(pad_to or ""), "quantiser": _QUANTISER}
    fields = {**entry.fields, "ranges_sha256": table.scales_sha256, **options}
    int8 = _of_pixels(cache.Key(entry.kind, f"{entry.label}-int8", fields), of_pixels)

    def build(folder: Path) -> None:
        _write_int8(source, form, table, scheme, pad_to, part, folder)
        if of_pixels:
            pixels.take_pixels(folder / FILE)

    return cache.obtain(int8, build) / FILE


def _of_pixels(entry: cache.Key, of_pixels: bool) -> cache.Key:
    if not of_pixels:
        return entry
    return cache.Key(entry.kind, f"{entry.label}-pixels", {**entry.fields, pixels.INPUT: pixels.PIXELS})


def _write_int8(
    source: Weights, form: Form, table: RangeTable, scheme: Scheme, pad_to: int | None, part: Part, folder: Path
) -> None:
    from dfer_edge.calibration import quantize

    exact = folder / "fp32.onnx"
    export.write(source, exact, form, external=True, part=part)
    quantize(exact, table, folder / FILE, scheme, pad_to)
    exact.unlink()
    exact.with_name(f"{exact.name}.data").unlink()


def discard(path: Path) -> bool:
    """Remove a cached network that does not load; False if ``path`` is none of the cache's."""
    return cache.discard(path.parent)


def key(source: Weights, form: Form, part: Part = "whole") -> cache.Key:
    """What the cache calls the export of ``source``."""
    # Another release may fold the same weights otherwise; between releases the recording tells graphs apart.
    graph, _, _ = record(source.spec, form, part)
    fields = {
        "model": source.spec.name,
        "weights": source.name,
        "weights_sha256": source.sha256,
        "spec": source.spec.to_json(),
        "form": form,
        "part": part,
        "graph_sha256": _graph_sha256(graph),
        "writer": _WRITER,
        "version": __version__,
    }
    if NOTE in source.notes:
        fields[NOTE] = source.notes[NOTE]
    label = f"{source.spec.name}-{form}" if part == "whole" else f"{source.spec.name}-{form}-{part}"
    return cache.Key("networks", label, fields)


def _graph_sha256(graph: SymbolicGraph) -> str:
    digest = hashlib.sha256(repr((graph.nodes, graph.weights)).encode())
    for name, values in graph.constants.items():
        digest.update(f"{name}|{values.dtype}|{values.shape}|".encode() + values.tobytes())
    return digest.hexdigest()
