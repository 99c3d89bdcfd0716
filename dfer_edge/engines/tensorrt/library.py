"""The TensorRT library here: which generation it is, and what differs between generations.

=============  ===========================  =================================================================
version        where                        how precision is asked for
=============  ===========================  =================================================================
10.3 - 10.11   JetPack 6                    builder flags FP16 and INT8; precision constraints on layers
10.12 - 10.x   JetPack 7                    strongly typed: every type is in the ONNX file; flags deprecated
11             JetPack 7.2.2 and later      strongly typed always; flags, constraints and calibrators removed
RTX 1.x        RTX desktops, by itself      as 11; kernels are compiled for named compute capabilities
=============  ===========================  =================================================================

Sources: NVIDIA's migration guide from 10.x to 11.x and the sources of the Python bindings of each version.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import importlib
import logging
import re
from typing import Any

from dfer_edge.errors import EngineUnavailable

_LOG = logging.getLogger("dfer_edge")
_OLDEST, _STRONG_FROM, _NEWEST_MAJOR = (10, 3), (10, 12), 11
_MOST_ERRORS = 32
_RTX_MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")
_TOO_OLD = "the driver may be older than this TensorRT needs, or memory is used up"


@dataclasses.dataclass(frozen=True)
class Library:
    """The imported module and its version.

    Attributes
    ----------
    trt
        The module ``tensorrt``, or TensorRT-RTX's.
    version
        As it says itself.
    target
        Compute capability to compile for, e.g. ``8.6``: of TensorRT-RTX, which builds without a GPU. Empty for
        TensorRT, which builds for the GPU that it runs on.
    """

    trt: Any
    version: str
    target: str = ""

    @property
    def name(self) -> str:
        """As NVIDIA calls it."""
        return "TensorRT-RTX" if self.target else "TensorRT"

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor."""
        return _number(self.version)

    @property
    def strongly_typed(self) -> bool:
        """Whether types come from the file instead of from flags."""
        return bool(self.target) or self.number >= _STRONG_FROM

    @property
    def network_flags(self) -> int:
        """For ``create_network``. From 11 on every network is strongly typed and the flag says nothing."""
        if self.strongly_typed and self.number[0] == 10:
            return 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return 0

    def make(self, kind: str, messages: Messages) -> Any:
        """A ``Builder`` or a ``Runtime``.

        Raises
        ------
        EngineUnavailable
            If the library makes none, with what it said: the bindings answer with a bare TypeError.
        """
        try:
            made = getattr(self.trt, kind)(messages.logger)
        except (TypeError, RuntimeError, MemoryError) as error:
            said = messages.take() if messages.any else str(error)
            raise EngineUnavailable(f"{self.name} {self.version} made no {kind}: {said}", _TOO_OLD) from error
        return made

    def aim(self, config: Any) -> None:
        """Tell a builder configuration of TensorRT-RTX what to compile for; TensorRT needs no telling.

        Raises
        ------
        EngineUnavailable
            If it does not know the compute capability.
        """
        if not self.target:
            return
        known = self.trt.ComputeCapability.__members__
        name = f"SM{self.target.replace('.', '')}"
        if name not in known:
            able = ", ".join(key for key in known if key.startswith("SM"))
            raise EngineUnavailable(f"{self.name} {self.version} does not run on {name}: it knows {able}")
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(known[name], 0):
            raise EngineUnavailable(f"{self.name} {self.version} does not compile for {name}")


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


def load_rtx(target: str) -> Library:
    """Import TensorRT-RTX, to run on a GPU of compute capability ``target``, e.g. ``8.6``.

    Raises
    ------
    EngineUnavailable
        If it is missing or does not load.
    """
    found = [_imported(name) for name in _RTX_MODULES]
    for trt in found:
        if not isinstance(trt, str):
            return Library(trt, str(trt.__version__), target)
    raise EngineUnavailable(f"TensorRT-RTX does not load; {'; '.join(map(str, found))}")


def _imported(name: str) -> Any:
    """A module, or why it does not load."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # the package loads libraries in many ways and fails in as many
        return f"{name}: {error}"


def _number(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        raise EngineUnavailable(f"expected a TensorRT version such as 10.3.0, found {version!r}")
    return int(found[1]), int(found[2])


@functools.cache
def _logger(trt: Any) -> tuple[Any, collections.deque[str]]:
    """The one logger that a library gets, and the errors it was told.

    A library keeps the first logger of the process while a builder or runtime lives, and tells no later one anything.
    """
    severity = trt.ILogger.Severity
    levels = {severity.WARNING: logging.WARNING, severity.INFO: logging.DEBUG, severity.VERBOSE: logging.DEBUG}
    errors: collections.deque[str] = collections.deque(maxlen=_MOST_ERRORS)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in levels:
                _LOG.log(levels[severity], "TensorRT: %s", msg)
            else:
                errors.append(msg)

    return Logger(), errors


class Messages:
    """What the library said: errors are kept for our own messages, the rest goes to the log."""

    def __init__(self, library: Library) -> None:
        self.logger, self._errors = _logger(library.trt)
        # What nobody asked for is of no concern to who asks next.
        self._errors.clear()

    @property
    def any(self) -> bool:
        """Whether there are errors to take."""
        return bool(self._errors)

    def take(self) -> str:
        """The errors since the last call, in one line."""
        text = "; ".join(" ".join(error.split()) for error in self._errors) or "it gave no reason"
        self._errors.clear()
        return text
