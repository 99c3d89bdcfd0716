"""Public backbones as they are published: torch pickles, safetensors, Flax msgpack and npz; no code in them runs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput, WeightsNotFound
from dfer_edge.weights.file import is_safetensors

# Where Flax's training states keep the parameters, outermost first.
_TREES = ("optimizer", "target", "params")
_NDARRAY, _SCALAR = 1, 3
"""Extension types of flax.serialization."""

Tensors = dict[str, Any]


def read_public(path: str | Path) -> Tensors:
    """Tensors by name: torch's of a pickle or safetensors, numpy's by path (``a/b/kernel``) of npz and Flax's msgpack.

    Raises
    ------
    WeightsNotFound
        If there is no such file.
    CorruptArtifact
        If it does not read as what it is.
    InvalidInput
        If it holds something else than tensors.
    EngineUnavailable
        For Flax's msgpack without the package msgpack.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFound(f"expected a checkpoint, found nothing at {path}")
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix == ".npz":
        return _npz(path)
    if _is_map(start) and not is_safetensors(path):
        return _flax(path)
    from dfer_edge.weights.pickles import opened_state

    return dict(opened_state(path))


def _is_map(start: bytes) -> bool:
    """Whether msgpack begins so: with a map whose first key is text. Flax's states do, torch's pickles do not."""
    if not start:
        return False
    key = {0xDE: 3, 0xDF: 5}.get(start[0], 1 if 0x81 <= start[0] <= 0x8F else 0)
    return bool(key) and len(start) > key and (0xA0 <= start[key] <= 0xBF or 0xD9 <= start[key] <= 0xDB)


def _npz(path: Path) -> Tensors:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _within({name: archive[name] for name in archive.files}, path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CorruptArtifact(f"expected an npz of arrays, got {path}: {error}") from error


def _flax(path: Path) -> Tensors:
    try:
        import msgpack
    except ImportError as error:
        raise EngineUnavailable(f"{path} is a Flax checkpoint, which needs msgpack", "pip install msgpack") from error
    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=_unpacked, raw=False, strict_map_key=False)
    except Exception as error:  # whatever broken bytes raise: ValueError, its own exceptions, KeyError, ...
        raise CorruptArtifact(f"expected a Flax checkpoint, got {path}: {type(error).__name__}: {error}") from error
    if not isinstance(tree, Mapping):
        raise CorruptArtifact(f"expected a tree of arrays in {path}, got {type(tree).__name__}")
    for name in _TREES:
        if isinstance(tree.get(name), Mapping):
            tree = tree[name]
    return _within(dict(_leaves(tree, "")), path)


def _unpacked(kind: int, data: bytes) -> Any:
    import msgpack

    if kind not in (_NDARRAY, _SCALAR):
        raise ValueError(f"extension type {kind}")
    shape, dtype, content = msgpack.unpackb(data, raw=False)
    if dtype == "bfloat16":  # the upper half of a float32
        wide = np.frombuffer(content, np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()


def _leaves(tree: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    if "__msgpack_chunked_array__" in tree:
        shape, parts = ([tree[part][str(i)] for i in range(len(tree[part]))] for part in ("shape", "chunks"))
        yield before.removesuffix("/"), np.concatenate(parts).reshape([int(side) for side in shape])
        return
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}/")
        elif isinstance(value, np.ndarray):
            yield f"{before}{name}", value


def _within(arrays: Tensors, path: Path) -> Tensors:
    """Without the wrappers' names in front of all paths."""
    if not arrays:
        raise InvalidInput(f"expected arrays in {path}, found none")
    for name in _TREES:
        if any(key.startswith(f"{name}/") for key in arrays):
            arrays = {
                key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")
            }
    return arrays
