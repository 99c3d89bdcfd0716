"""Environment variables of the SDK and the folders they name: read here alone. Those of torchrun are training's.

==========================  ============================================================================================
``DFER_EDGE_API_KEY``       what callers of ``dfer-edge serve`` must send, instead of ``--api-key``
``DFER_EDGE_CACHE``         folder for exported networks, engines and fetched models, instead of the platform's own
``DFER_EDGE_CACHE_MB``      size above which the exported networks and engines used longest ago go (default: 8000)
``DFER_EDGE_FACE_MODEL``    folder of OBJ files or .npz of the ICT-FaceKit light face model, for rendering faces
``DFER_EDGE_LANDMARKS``     path of a landmark network (ONNX) for networks that take landmarks, not the shipped one
``DFER_EDGE_YUNET``         path of a YuNet file (ONNX) for detector ``yunet``, not the fetched one
``DFER_EDGE_YUNET_URL``     address that ``dfer-edge models fetch yunet`` reads, e.g. a mirror; same sha256
``ORT_DISABLE_TELEMETRY``   set to 1 when the package is imported, unless it is set: ONNX Runtime reads it when imported
``TRITON_INTERPRET``        1 runs Triton kernels on the CPU, interpreted: for tests (Triton reads it when imported)
==========================  ============================================================================================
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs

from dfer_edge.errors import InvalidInput

_LOG = logging.getLogger("dfer_edge")


def cache_folder() -> Path:
    """Where exported networks, engines and fetched models are kept; made on first write."""
    found = _path("DFER_EDGE_CACHE") or Path(platformdirs.user_cache_dir("dfer_edge"))
    # Without a home folder the platform's is none.
    return (
        found if found.is_absolute() or "DFER_EDGE_CACHE" in os.environ else temporary_cache("there is no home folder")
    )


@functools.cache
def temporary_cache(reason: str) -> Path:
    """A cache for this process alone, removed at its end; the log says why."""
    folder = Path(tempfile.mkdtemp(prefix="dfer-edge-cache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _LOG.warning("%s: networks are exported for this process alone, into %s; set DFER_EDGE_CACHE", reason, folder)
    return folder


def cache_limit() -> float:
    """Bytes above which the cache drops what was used longest ago."""
    text = os.environ.get("DFER_EDGE_CACHE_MB") or "8000"
    try:
        return max(0.0, float(text)) * 1e6
    except ValueError as error:
        raise InvalidInput(f"expected megabytes in DFER_EDGE_CACHE_MB, got {text!r}") from error


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def api_key() -> str | None:
    """What callers of a server must send, if it is named."""
    return os.environ.get("DFER_EDGE_API_KEY") or None


def face_model_path() -> Path | None:
    """Path of the morphable face that synthesis renders, if named."""
    return _path("DFER_EDGE_FACE_MODEL")


def landmarks_override() -> Path | None:
    """Path of the user's landmark network, if named."""
    return _path("DFER_EDGE_LANDMARKS")


def yunet_override() -> Path | None:
    """Path of the user's own YuNet file, if named."""
    return _path("DFER_EDGE_YUNET")


def yunet_address() -> str | None:
    """Address of a mirror for the YuNet file, if named."""
    return os.environ.get("DFER_EDGE_YUNET_URL") or None


def triton_interprets() -> bool:
    """Whether Triton kernels run interpreted, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"
