"""Environment variables and folders: the one module that reads them.

==========================  ============================================================================================
``DFER_EDGE_CACHE``         folder for exported networks and fetched models, instead of the platform's cache folder
``DFER_EDGE_LANDMARKS``     path of a 68-point landmark network (ONNX) for networks that take landmarks; none by default
``DFER_EDGE_YUNET``         path of a YuNet face detector (ONNX), instead of the fetched one
``DFER_EDGE_YUNET_URL``     address that ``dfer-edge models fetch yunet`` reads, e.g. a mirror; same sha256
==========================  ============================================================================================
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Where exported networks and fetched models are kept; made on first write."""
    override = os.environ.get("DFER_EDGE_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("dfer_edge"))


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
