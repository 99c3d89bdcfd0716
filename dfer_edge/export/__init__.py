"""Export: whatever turns a network and its weights into files that engines and servers read lives here.

:mod:`~dfer_edge.export.onnx_file` writes ONNX, :mod:`~dfer_edge.export.artifacts` keeps such files in the cache,
:mod:`~dfer_edge.export.loading` goes from a request to a running engine, :mod:`~dfer_edge.export.triton_repository`
writes a repository for NVIDIA's server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfer_edge._names import lazy

if TYPE_CHECKING:
    from dfer_edge.export.loading import Loaded, Request, load, load_parts
    from dfer_edge.export.onnx_file import export_int8, export_onnx, inference_weights, metadata, of_module, write
    from dfer_edge.export.triton_repository import write_repository

__all__ = [
    "Loaded",
    "Request",
    "export_int8",
    "export_onnx",
    "inference_weights",
    "load",
    "load_parts",
    "metadata",
    "of_module",
    "write",
    "write_repository",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "onnx_file": (
            "export_int8",
            "export_onnx",
            "inference_weights",
            "metadata",
            "of_module",
            "write",
        ),
        "loading": (
            "Loaded",
            "Request",
            "load",
            "load_parts",
        ),
        "triton_repository": ("write_repository",),
    },
)
