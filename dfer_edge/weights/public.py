"""Public backbones as they are published: torch pickles, safetensors, Flax msgpack and npz; no code in them runs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput, WeightsNotFound

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
        start = file.read(4)
    if path.suffix == ".npz":
        return _npz(path)
    # A Flax state is a msgpack map; torch's files are zip archives or pickles, which begin otherwise.
    if start and ((0x80 <= start[0] <= 0x8F and start[:2] != b"\x80\x02") or start[0] in (0xDE, 0xDF)):
        return _flax(path)
    from dfer_edge.weights.pickles import opened_state

    return dict(opened_state(path))


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
