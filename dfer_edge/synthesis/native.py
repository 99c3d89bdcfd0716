"""The native renderer, or an error that says how to get it."""

from dfer_edge.errors import EngineUnavailable

try:
    from dfer_edge import _cpu
except ImportError as error:
    raise EngineUnavailable(
        f"rendering needs the native module dfer_edge._cpu, which this installation lacks: {error}",
        "install a wheel, or from source with a C++17 compiler",
    ) from error

NATIVE = _cpu.synthesis
