"""Weights files that hold a head alone and share the trunk of another file in their folder. Imports no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.weights import file as weights
from dfer_edge.weights.trunk import OWN

if TYPE_CHECKING:
    from torch import nn


def save(path: str | Path, module: nn.Module, trunk: str | Path, **notes: str) -> Path:
    """Write the head of a network alone.

    Parameters
    ----------
    path
        Ends in ``.safetensors``.
    module
        Training form; all its tensors but those of :data:`~dfer_edge.weights.trunk.OWN` are taken from the trunk on
        reading.
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
    from dfer_edge.models.simplified import spec_of, state_arrays

    path, trunk = Path(path), Path(trunk)
    base, state = weights.load(trunk), state_arrays(module)
    if os.path.realpath(path.parent) != os.path.realpath(trunk.parent):
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
