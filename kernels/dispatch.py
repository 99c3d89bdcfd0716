"""Which implementation of an operation runs: an ordered list of backends, each of which says why it declines.

An operation OP is the package ``dfer_edge.kernels.OP``; a backend is one module of it (:data:`MODULES`) with two
functions that take the same, already checked arguments:

``declines(*args)``
    Why this backend cannot take them; empty if it can.
``run(*args)``
    The result, of the library and on the device of the first argument.

Nothing is imported before its turn: numpy arrays never bring in torch or triton.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.kernels import arrays
from dfer_edge.system import settings

OPERATIONS = ("lbp", "landmark_pool", "token_attention", "clip_to_tensor", "attention_gate")
# In the order of preference.
MODULES = {"cuda": "cuda_impl", "triton": "triton_impl", "cpu": "cpu_impl", "reference": "reference"}
BACKENDS = tuple(MODULES)

_forced: ContextVar[str | None] = ContextVar("forced kernel backend", default=None)
_threads: ContextVar[int] = ContextVar("threads of the CPU kernels", default=1)


@contextlib.contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Run every kernel inside the ``with`` block on one backend; ``None`` is the ordered list again.

    A forced backend never falls back: a call that it cannot take raises
    :class:`~dfer_edge.errors.EngineUnavailable` with the reasons. Holds for the calling thread (a context variable).

    Raises
    ------
    InvalidInput
        If there is no backend of that name.
    """
    if name is not None and name not in MODULES:
        raise InvalidInput(f"expected a backend of {', '.join(BACKENDS)}, got {name!r}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let the ``cpu`` backend use ``count`` threads a call inside the ``with`` block; 1 outside of any.

    One is the default because the operations are short and stand beside an engine that fills the cores.
    """
    if count < 1:
        raise InvalidInput(f"expected at least one thread, got {count}")
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)


def threads() -> int:
    """Threads that a ``cpu`` implementation may use now."""
    return _threads.get()


def backends(op: str) -> dict[str, str]:
    """Backends of an operation in the order of preference, each with the reason why it cannot run here.

    An empty reason means that it can; a call may still be declined for its arguments. Imports torch if installed.

    Raises
    ------
    InvalidInput
        If there is no operation of that name.
    """
    _known(op)
    return {name: unavailable(op, name) for name in BACKENDS}


def run(op: str, *args: Any) -> Any:
    """Result of the first backend that takes ``args``, or of the forced one.

    Raises
    ------
    EngineUnavailable
        If the forced backend, or every backend, declines; lists the reasons.
    """
    return choose(op, *args).run(*args)


def choose(op: str, *args: Any) -> ModuleType:
    """The module that :func:`run` calls."""
    forced = _forced.get()
    reasons: dict[str, str] = {}
    places = {arrays.device(a).partition(":")[0] for a in args if arrays.is_array(a)}
    for name in (forced,) if forced else BACKENDS:
        reason = _elsewhere(name, places) or unavailable(op, name)
        if not reason:
            module = implementation(op, name)
            reason = str(module.declines(*args))
            if not reason:
                return module
        reasons[name] = reason
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    what = f"the forced backend of {op} declines" if forced else f"no backend of {op} takes this call"
    raise EngineUnavailable(f"{what}: {listed}", "dfer_edge.kernels.backends(op) lists what this machine has")


def implementation(op: str, name: str) -> ModuleType:
    """The module of a backend, imported."""
    return importlib.import_module(f"dfer_edge.kernels.{op}.{MODULES[name]}")


def unavailable(op: str, name: str) -> str:
    """Why a backend cannot run on this machine; empty if it can."""
    if not _has_form(op, name):
        return f"{op} has no {name} form"
    checks = {"cuda": _cuda, "triton": _triton, "cpu": _cpu}
    return checks[name]() if name in checks else ""


@functools.cache
def _has_form(op: str, name: str) -> bool:
    try:
        return importlib.util.find_spec(f"dfer_edge.kernels.{op}.{MODULES[name]}") is not None
    except ModuleNotFoundError:  # the operation itself
        return False


def _known(op: str) -> None:
    if op not in OPERATIONS:
        raise InvalidInput(f"expected an operation of {', '.join(OPERATIONS)}, got {op!r}")


def _elsewhere(name: str, places: set[str]) -> str:
    """Arrays in host memory need no GPU backend, so that none is imported for them; interpreted kernels take them."""
    interpreted = name == "triton" and settings.triton_interprets()
    wanted = {"cuda": "cuda", "triton": "cpu" if interpreted else "cuda", "cpu": "cpu"}.get(name)
    if wanted == "cuda" and "cuda" not in places:
        return "the arrays are in host memory" if places <= {"cpu"} else f"the arrays are on {', '.join(places)}"
    if wanted == "cpu" and places - {"cpu"}:
        return "the arrays are in device memory"
    return ""


@functools.cache
def _cuda() -> str:
    if importlib.util.find_spec("dfer_edge._cuda") is None:
        return "dfer_edge._cuda is not built (make cuda, needs nvcc; an installed copy needs -e)"
    try:
        from dfer_edge import _cuda
    except ImportError as error:
        return f"dfer_edge._cuda does not load: {error}"
    return str(_cuda.unavailable())


@functools.cache
def _triton() -> str:
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            return f'{package} is not installed (pip install "dfer-edge[{package}]")'
    if settings.triton_interprets():
        return ""
    import torch

    return "" if torch.cuda.is_available() else "torch sees no CUDA device (TRITON_INTERPRET=1 runs it on the CPU)"


@functools.cache
def _cpu() -> str:
    if importlib.util.find_spec("dfer_edge._cpu") is None:
        return "dfer_edge._cpu is not built (python setup.py build_ext --inplace)"
    try:
        from dfer_edge import _cpu  # noqa: F401
    except ImportError as error:
        return f"dfer_edge._cpu does not load: {error}"
    return ""
