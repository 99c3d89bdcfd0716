"""Environment variables of the SDK and the folders they name: read here alone. Those of torchrun are training's.

==========================  ============================================================================================
``DFER_EDGE_API_KEY``       what callers of ``dfer-edge serve`` must send, instead of ``--api-key``
``DFER_EDGE_CACHE``         folder for exported networks, engines and fetched models, instead of the platform's own
``DFER_EDGE_FACE_MODEL``    folder of OBJ files or .npz of the ICT-FaceKit light face model, for rendering faces
``DFER_EDGE_LANDMARKS``     path of a landmark network (ONNX) for networks that take landmarks, not the shipped one
``DFER_EDGE_YUNET``         path of a YuNet face detector (ONNX), instead of the fetched one
``DFER_EDGE_YUNET_URL``     address that ``dfer-edge models fetch yunet`` reads, e.g. a mirror; same sha256
``ORT_DISABLE_TELEMETRY``   set to 1 when the package is imported, unless it is set: ONNX Runtime reads it when imported
``TRITON_INTERPRET``        1 runs Triton kernels on the CPU, interpreted: for tests (Triton reads it when imported)
==========================  ============================================================================================
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Where exported networks, engines and fetched models are kept; made on first write."""
    override = os.environ.get("DFER_EDGE_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("dfer_edge"))


def api_key() -> str | None:
    """What callers of a server must send, if it is named."""
    return os.environ.get("DFER_EDGE_API_KEY") or None


def face_model_path() -> Path | None:
    """Path of the morphable face that synthesis renders, if named."""
    value = os.environ.get("DFER_EDGE_FACE_MODEL")
    return Path(value) if value else None


def landmarks_override() -> Path | None:
    """Path of the user's landmark network, if named."""
    value = os.environ.get("DFER_EDGE_LANDMARKS")
    return Path(value) if value else None


def yunet_override() -> Path | None:
    """Path of the user's own YuNet file, if named."""
    value = os.environ.get("DFER_EDGE_YUNET")
    return Path(value) if value else None


def yunet_address() -> str | None:
    """Address of a mirror for the YuNet file, if named."""
    return os.environ.get("DFER_EDGE_YUNET_URL") or None


def triton_interprets() -> bool:
    """Whether Triton kernels run interpreted, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"
