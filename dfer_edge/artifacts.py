"""Exported networks in the cache folder: written once per weights and form, published whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from dfer_edge import export, settings
from dfer_edge.errors import DferError
from dfer_edge.inference import Form, record
from dfer_edge.weights import Weights


def prepare(source: Weights, form: Form) -> Path:
    """Path of the ONNX file of ``source`` in ``form``, exported now if the cache has none.

    Raises
    ------
    DferError
        If the cache folder cannot be written; the hint names the variable that moves it.
    InvalidInput
        If the weights do not fit their network.
    """
    networks = settings.cache_folder() / "networks"
    folder = networks / f"{source.spec.name}-{form}-{_key(source, form)}"
    if (folder / "model.onnx").is_file():
        return folder / "model.onnx"
    try:
        networks.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not (folder / "model.onnx").is_file():
                _publish(source, form, folder)
    except DferError:
        raise
    except OSError as error:
        raise DferError(f"cannot write the exported network to {networks}: {error}", "set DFER_EDGE_CACHE") from error
    return folder / "model.onnx"


def discard(path: Path) -> bool:
    """Remove a cached network that does not load; False if ``path`` is none of the cache's."""
    folder = path.parent
    if folder.parent != settings.cache_folder() / "networks":
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _publish(source: Weights, form: Form, folder: Path) -> None:
    # A folder is renamed in one step: a killed process leaves a scratch folder, never half a network.
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=folder.parent))
    try:
        export.write(source, scratch / "model.onnx", form, external=True)
        scratch.replace(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _key(source: Weights, form: Form) -> str:
    # The recording is part of the key: another release's graph is another file.
    graph, _, _ = record(source.spec, form)
    content = f"{source.sha256}|{source.name}|{form}|{source.spec.to_json()}|{graph.nodes!r}"
    return hashlib.sha256(content.encode()).hexdigest()[:20]
