"""Weights files: safetensors with the model's spec and a content hash in the metadata. Imports no torch.

A file holds the state of the training form; the exact folds run when it is exported. Pickles are never opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.inference.folding import Array
from dfer_edge.models import registry
from dfer_edge.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.models.backbone import BackboneReport

FORMAT = "dfer_edge/1"
SHIPPED = Path(__file__).parent / "assets" / "weights"

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}

# First bytes of what torch.save writes (zip, then legacy) and of bare pickles.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights of one network and where they came from.

    Attributes
    ----------
    name
        ``"default"``, ``"random"`` or the file's name: what results are marked with.
    sha256
        Of the tensors' content (for random weights, of the spec and seed they are drawn from).
    spec
        The network they belong to.
    state
        Training form, by parameter name; None for random weights, which are drawn in inference form.
    """

    name: str
    sha256: str
    spec: ModelSpec
    state: Mapping[str, Array] | None

    @property
    def is_random(self) -> bool:
        return self.state is None


def content_hash(state: Mapping[str, Array]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in name order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = np.ascontiguousarray(state[name])
        digest.update(f"{name}|{value.dtype.str}|{value.shape}|".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save(path: str | Path, module: nn.Module, untrained: int = 0, **notes: str) -> Path:
    """Write a network's weights.

    Parameters
    ----------
    path
        Ends in ``.safetensors``.
    module
        Training form, made by :func:`dfer_edge.models.create_model`.
    untrained
        Tensors that are still random, e.g. the head of an imported backbone: results of the file will say so.
    notes
        Further metadata, e.g. data set and recipe.

    Raises
    ------
    InvalidInput
        For another suffix or a module without a spec.
    """
    from dfer_edge.models.simplified import spec_of, state_arrays

    path = Path(path)
    if path.suffix != ".safetensors":
        raise InvalidInput(f"expected a path that ends in .safetensors, got {path.name!r}")
    if not path.parent.is_dir():
        raise InvalidInput(f"expected a folder to write into, found none at {path.parent}")
    state = {key: np.ascontiguousarray(value) for key, value in state_arrays(module).items()}
    metadata = {
        "format": FORMAT,
        "spec": spec_of(module).to_json(),
        "sha256": content_hash(state),
        "untrained": str(untrained),
        "notes": json.dumps(notes),
    }
    save_file(state, path, metadata)
    return path


def load(path: str | Path) -> Weights:
    """Read and verify a weights file.

    Raises
    ------
    WeightsNotFound
        If there is no such file.
    InvalidInput
        If it is a pickle; the hint names the command that converts it.
    CorruptArtifact
        If it is truncated, tampered with or not a weights file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFound(f"expected a weights file, found nothing at {path}")
    _refuse_pickle(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # checks header, offsets and length
            metadata = file.metadata() or {}
        state = _mapped(path)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise CorruptArtifact(
            f"expected a complete safetensors file, got {path} which does not read: {error}"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CorruptArtifact(
            f"expected metadata format {FORMAT!r}, got {metadata.get('format')!r} in {path}",
            f"for weights of other projects: dfer-edge models convert {path} OUT.safetensors --model NAME",
        )
    actual = content_hash(state)
    if actual != metadata.get("sha256"):
        raise CorruptArtifact(f"expected content sha256 {metadata.get('sha256')}, got {actual} in {path}")
    untrained = int(metadata.get("untrained", "0"))
    name = f"{path.name} ({untrained} of {len(state)} tensors random)" if untrained else path.name
    return Weights(name, actual, ModelSpec.from_json(metadata.get("spec", "")), state)


def _mapped(path: Path) -> dict[str, Array]:
    """Tensors of a checked safetensors file, mapped: reading them copies nothing."""
    with path.open("rb") as file:
        start = int.from_bytes(file.read(8), "little") + 8
        entries = json.loads(file.read(start - 8))
    entries.pop("__metadata__", None)
    unknown = {entry["dtype"] for entry in entries.values()} - set(_DTYPES)
    if unknown:
        raise ValueError(f"dtypes {sorted(unknown)} are none of {sorted(_DTYPES)}")
    return {
        key: np.memmap(path, _DTYPES[e["dtype"]], "r", start + e["data_offsets"][0], tuple(e["shape"]))
        if e["data_offsets"][1] > e["data_offsets"][0]
        else np.zeros(e["shape"], _DTYPES[e["dtype"]])
        for key, e in entries.items()
    }


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE_STARTS):
        raise InvalidInput(
            f"expected a safetensors file, got a pickle at {path}, which could run code when opened",
            f"dfer-edge models convert {path} {path.with_suffix('.safetensors').name} --model NAME",
        )


def labels_mean_nothing(weights_name: str) -> bool:
    """Whether results that carry this name of weights come from random numbers, in part or in whole."""
    return weights_name == "random" or weights_name.endswith("tensors random)")


def random(name: str, seed: int = 0) -> Weights:
    """Seeded random weights: for speed work only, and marked so in every result."""
    spec = registry.find(name).spec
    digest = hashlib.sha256(f"random|{seed}|{spec.to_json()}".encode()).hexdigest()
    return Weights("random", digest, spec, None)


def shipped(name: str) -> Path | None:
    """The weights file inside the package, or None."""
    path = SHIPPED / f"{name}.safetensors"
    return path if path.is_file() else None


def resolve(name: str, weights: str | Path) -> Weights:
    """What ``Recognizer(name, weights=...)`` means: ``"default"``, ``"random"`` or a path.

    Raises
    ------
    WeightsNotFound
        If the model ships no weights or the path does not exist.
    InvalidInput
        If the file holds weights of another model.
    """
    registry.find(name)
    if weights == "random":
        return random(name)
    if weights == "default":
        path = shipped(name)
        if path is None:
            raise WeightsNotFound(
                f"no trained weights ship for {name} yet",
                'pass a weights file of your own, or weights="random" (--weights random) to try speed only',
            )
        return dataclasses.replace(load(path), name="default")
    loaded = load(weights)
    if loaded.spec.name != name:
        raise InvalidInput(f"expected weights of {name}, got weights of {loaded.spec.name} in {weights}")
    return loaded


def import_backbone(module: nn.Module, state_dict: Mapping[str, Any]) -> BackboneReport:
    """Copy a public backbone's tensors into ``module``; see :func:`dfer_edge.models.backbone.import_backbone`."""
    from dfer_edge.models.backbone import import_backbone as run

    return run(module, state_dict)
