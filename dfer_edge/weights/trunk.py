"""Reading weights files that share the trunk of another file in their folder. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dfer_edge.errors import CorruptArtifact, WeightsNotFound
from dfer_edge.inference.folding import Array

if TYPE_CHECKING:
    from dfer_edge.weights.file import Weights

OWN = ("head.", "apex.")
"""What the names of tensors begin with that a file on another one's trunk has itself."""


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
        self._keys = dict.fromkeys([*(key for key in trunk if not key.startswith(OWN)), *own])

    def __getitem__(self, key: str) -> Array:
        return self._own[key] if key in self._own else self._trunk[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys  # without reading it, as a mapping's own would

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
