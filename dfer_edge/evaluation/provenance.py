"""Where numbers come from: without it a number is not published."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from typing import Any

from dfer_edge import cpu
from dfer_edge._version import __version__

_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch", "tensorrt")


def provenance() -> dict[str, Any]:
    """Versions, device and date, JSON-safe."""
    return {
        "dfer_edge": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: version for name in _PACKAGES if (version := _version(name))},
        "processor": cpu.name(),
        "cores": cpu.available_cores(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
