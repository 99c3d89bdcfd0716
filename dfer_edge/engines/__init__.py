"""Engines behind one contract: which exist (``registry``), which one a request means (``choosing``), loading a file.

A file or folder an engine. A forced engine or precision that cannot be met is an error with the reasons; nothing falls
back silently.
"""

from __future__ import annotations

from dfer_edge.engines.base import Engine, EngineOptions
from dfer_edge.engines.choosing import SIMULATED, Choice, best_form, check_names, choose
from dfer_edge.engines.loading import file_precision, load_engine
from dfer_edge.engines.registry import (
    BEST_FORM,
    ENGINES,
    MAX_THREADS,
    PRECISIONS,
    DeviceName,
    EngineName,
    PrecisionName,
    precision_reasons,
    reasons,
    runs_on_gpu,
)

__all__ = [
    "BEST_FORM",
    "ENGINES",
    "MAX_THREADS",
    "PRECISIONS",
    "SIMULATED",
    "Choice",
    "DeviceName",
    "Engine",
    "EngineName",
    "EngineOptions",
    "PrecisionName",
    "best_form",
    "check_names",
    "choose",
    "file_precision",
    "load_engine",
    "precision_reasons",
    "reasons",
    "runs_on_gpu",
]
