"""The TensorRT library here: which generation it is, and what differs between generations.

=============  ===========================  =================================================================
version        where                        how precision is asked for
=============  ===========================  =================================================================
10.3 - 10.11   JetPack 6                    builder flags FP16 and INT8; precision constraints on layers
10.12 - 10.x   JetPack 7                    strongly typed: every type is in the ONNX file; flags deprecated
11             JetPack 7.2.2 and later      strongly typed always; flags, constraints and calibrators removed
=============  ===========================  =================================================================

Sources: NVIDIA's migration guide from 10.x to 11.x and the sources of the Python bindings of each version.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import re
from typing import Any

from dfer_edge.errors import EngineUnavailable

_LOG = logging.getLogger("dfer_edge")
_OLDEST, _STRONG_FROM, _NEWEST_MAJOR = (10, 3), (10, 12), 11


@dataclasses.dataclass(frozen=True)
class Library:
    """The imported module and its version.

    Attributes
    ----------
    trt
        The module ``tensorrt``.
    version
        As it says itself.
    """

    trt: Any
    version: str

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor."""
        return _number(self.version)

    @property
    def strongly_typed(self) -> bool:
        """Whether types come from the file instead of from flags."""
        return self.number >= _STRONG_FROM

    @property
    def network_flags(self) -> int:
        """For ``create_network``. From 11 on every network is strongly typed and the flag says nothing."""
        if self.strongly_typed and self.number[0] == 10:
            return 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return 0


def load() -> Library:
    """Import TensorRT.

    Raises
    ------
    EngineUnavailable
        If it is missing, does not load, or is of a generation that this adapter does not know.
    """
    try:
        trt = importlib.import_module("tensorrt")
        version = str(trt.__version__)
        number = _number(version)
    except Exception as error:  # the package loads libraries in many ways and fails in as many
        raise EngineUnavailable(f"the tensorrt package does not load: {error}") from error
    if not (number >= _OLDEST and number[0] <= _NEWEST_MAJOR):
        known = f"{_OLDEST[0]}.{_OLDEST[1]} to {_NEWEST_MAJOR}.x"
        raise EngineUnavailable(f"expected TensorRT {known}, found {version}")
    return Library(trt, version)


def _number(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        raise EngineUnavailable(f"expected a TensorRT version such as 10.3.0, found {version!r}")
    return int(found[1]), int(found[2])


class Messages:
    """What the library said: errors are kept for our own messages, the rest goes to the log."""

    def __init__(self, library: Library) -> None:
        severity = library.trt.ILogger.Severity
        levels = {severity.WARNING: logging.WARNING, severity.INFO: logging.DEBUG, severity.VERBOSE: logging.DEBUG}
        errors = self._errors = list[str]()

        class Logger(library.trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                library.trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                if severity in levels:
                    _LOG.log(levels[severity], "TensorRT: %s", msg)
                else:
                    errors.append(msg)

        self.logger = Logger()

    def take(self) -> str:
        """The errors since the last call, in one line."""
        text = "; ".join(" ".join(error.split()) for error in self._errors) or "it gave no reason"
        self._errors.clear()
        return text
