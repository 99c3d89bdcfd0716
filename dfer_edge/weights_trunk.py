"""Weights files that share the trunk of another file in their folder and hold a head alone. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.inference.folding import Array

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.weights import Weights

OWN = ("head.", "apex.")
"""What the names of tensors begin with that a file on another one's trunk has itself."""


def save(path: str | Path, module: nn.Module, trunk: str | Path, **notes: str) -> Path:
    """Write the head of a network alone.

    Parameters
    ----------
    path
        Ends in ``.safetensors``.
    module
        Training form; all its tensors but those of :data:`OWN` are taken from the trunk on reading.
    trunk
        A weights file in the folder of ``path`` that has them.
    notes
        Further metadata.

    Raises
    ------
    InvalidInput
        If the two do not lie in one folder, or the trunk lacks a tensor.
    WeightsNotFound, CorruptArtifact
        As :func:`dfer_edge.weights.load`.
    """
    from dfer_edge import weights
    from dfer_edge.models.simplified import spec_of, state_arrays

    path, trunk = Path(path), Path(trunk)
    base, state = weights.load(trunk), state_arrays(module)
    if path.parent.resolve() != trunk.parent.resolve():
        raise InvalidInput(f"expected {path.name} in the folder of {trunk.name}, got {path.parent}")
    own = {key: np.asarray(value, order="C") for key, value in state.items() if key.startswith(OWN)}
    if missing := sorted(set(state) - set(own) - set(base.state or {})):
        raise InvalidInput(f"expected the tensors of {spec_of(module).name} in {trunk.name}, {missing[0]} is missing")
    metadata = {
        "format": weights.FORMAT,
        "spec": spec_of(module).to_json(),
        "sha256": weights.content_hash(own),
        "untrained": "0",
        "notes": json.dumps(notes),
        "trunk": trunk.name,
        "trunk_sha256": base.sha256,
    }
    weights.store(path, own, metadata)
    return path


def beside(path: Path, trunk: str, sha256: str, load: Callable[[Path], Weights]) -> Weights:
    """The file ``trunk`` beside ``path``, whose content must have this hash; CorruptArtifact if not."""
    file = path.with_name(Path(trunk).name)
    try:
        base = load(file)
    except WeightsNotFound as error:
        raise CorruptArtifact(f"expected {file.name} beside {path.name}, which shares its trunk; found none") from error
    if base.sha256 != sha256:
        raise CorruptArtifact(
            f"expected {file.name} with content sha256 {sha256} beside {path.name}, got {base.sha256}"
        )
    return base


def joined_hash(own: str, trunk: str) -> str:
    """Tells of the contents of both files."""
    return hashlib.sha256(f"{own}|{trunk}".encode()).hexdigest()


class Joined(Mapping[str, Array]):
    """Tensors of two files, read when they are asked for."""

    def __init__(self, own: Mapping[str, Array], trunk: Mapping[str, Array]) -> None:
        self._own, self._trunk = own, trunk
        self._keys = [*(key for key in trunk if not key.startswith(OWN)), *own]

    def __getitem__(self, key: str) -> Array:
        return self._own[key] if key in self._own else self._trunk[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
