"""Recognise facial expressions over time, at the edge.

>>> import dfer_edge
>>> dfer_edge.list_models()[:2]
['slowr50_sa', 'slowr50']

Importing is cheap: no torch, no OpenCV, no engine until first use.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from dfer_edge import _names
from dfer_edge._version import __version__

_names.install()

# ONNX Runtime (1.29 on) reports to its vendor and leaves a device id in the home folder unless this is set before its
# import, whoever imports it first. Nothing of ours reports anything.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from dfer_edge.errors import (
        CalibrationError,
        CorruptArtifact,
        DferError,
        EngineUnavailable,
        InvalidInput,
        NoFaceFound,
        PrecisionUnavailable,
        SourceLost,
        SourceNotFound,
        WeightsNotFound,
    )
    from dfer_edge.inference.registry import list_models
    from dfer_edge.recognizer import Recognizer
    from dfer_edge.types import Observation, Prediction, Timeline

# Public name -> module that has it.
_PUBLIC = {
    **dict.fromkeys(
        (
            "CalibrationError",
            "CorruptArtifact",
            "DferError",
            "EngineUnavailable",
            "InvalidInput",
            "NoFaceFound",
            "PrecisionUnavailable",
            "SourceLost",
            "SourceNotFound",
            "WeightsNotFound",
        ),
        "dfer_edge.errors",
    ),
    "Observation": "dfer_edge.types",
    "Prediction": "dfer_edge.types",
    "Recognizer": "dfer_edge.recognizer",
    "Timeline": "dfer_edge.types",
    "list_models": "dfer_edge.inference.registry",
}

# Sub-packages that the documentation uses as attributes: dfer_edge.export.export_onnx and the like.
_MODULES = (
    "calibration",
    "confidence",
    "engines",
    "errors",
    "evaluation",
    "export",
    "flow",
    "kernels",
    "labels",
    "live",
    "metrics",
    "models",
    "sinks",
    "sources",
    "spec",
    "synthesis",
    "types",
    "weights",
)

__all__ = [
    "CalibrationError",
    "CorruptArtifact",
    "DferError",
    "EngineUnavailable",
    "InvalidInput",
    "NoFaceFound",
    "Observation",
    "PrecisionUnavailable",
    "Prediction",
    "Recognizer",
    "SourceLost",
    "SourceNotFound",
    "Timeline",
    "WeightsNotFound",
    "__version__",
    "list_models",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES or f"dfer_edge.{name}" in _names.MOVED:
        return importlib.import_module(f"dfer_edge.{name}")
    raise AttributeError(f"module 'dfer_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
