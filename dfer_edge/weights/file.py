"""Weights files: safetensors with the model's spec and a content hash in the metadata. Imports no torch.

A file holds the state of the training form; the exact folds run when it is exported. Pickles are never opened.
Files written before the metadata had a hash of its own are read without it.
A compact file (:mod:`dfer_edge.weights.compact`) holds the state in int8 and reads like any other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput, WeightsNotFound
from dfer_edge.inference import registry
from dfer_edge.inference.folding import Array
from dfer_edge.sources import strangers
from dfer_edge.spec import ModelSpec
from dfer_edge.weights import compact as weights_compact
from dfer_edge.weights import trunk as weights_trunk

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.models.backbone import BackboneReport

FORMAT = "dfer_edge/1"
# Of its own: a release that knows no compact files must not take codes for weights.
COMPACT_FORMAT = "dfer_edge/1+int8"
# Of the rest of the metadata: another label or mean is another network, with the same tensors.
_METADATA_HASH = "metadata_sha256"
SHIPPED = Path(__file__).parents[1] / "assets" / "weights"

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}

# Attribute of a module: what the file that it was loaded from says of its tensors, and their hash.
_LOADED = "_dfer_edge_loaded"

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
        Of the stored tensors' content (for random weights, of the spec and seed they are drawn from).
    spec
        The network they belong to.
    state
        Training form, by parameter name; None for random weights, which are drawn in inference form.
    compact
        ``"int8"`` if the file stores them so, else empty.
    untrained
        Tensors that are still random.
    notes
        Further metadata, e.g. data set and recipe.
    """

    name: str
    sha256: str
    spec: ModelSpec
    state: Mapping[str, Array] | None
    compact: str = ""
    untrained: int = 0
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)

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


def _metadata_hash(metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode()).hexdigest()


def save(path: str | Path, module: nn.Module, untrained: int = 0, compact: bool = False, **notes: str) -> Path:
    """Write a network's weights; of tensors as :func:`load_into` read them, with what their file says of them.

    Parameters
    ----------
    path
        Ends in ``.safetensors``.
    module
        Training form, made by :func:`dfer_edge.models.create_model`.
    untrained
        Tensors that are still random, e.g. the head of an imported backbone: results of the file will say so.
    compact
        Store large tensors in int8, see :mod:`dfer_edge.weights.compact`: a quarter of the size, not bit for bit.
    notes
        Further metadata, e.g. data set and recipe.

    Raises
    ------
    InvalidInput
        For another suffix, a module without a spec, or weights for the compact form that are not finite.
    """
    from dfer_edge.models.simplified import spec_of, state_arrays

    state, loaded = state_arrays(module), getattr(module, _LOADED, None)
    if loaded is not None and loaded["sha256"] == content_hash(state):
        # What was said of these tensors still holds: their confidence, their origin. Of others it would not.
        notes, untrained = {**loaded["notes"], **notes}, untrained or loaded["untrained"]
    return write(path, Weights("module", "", spec_of(module), state, "", untrained, notes), compact)


def write(path: str | Path, source: Weights, compact: bool = False) -> Path:
    """Write weights in full or in compact form; as :func:`save`, for weights that are no module.

    Raises
    ------
    InvalidInput
        For another suffix, random weights, or weights for the compact form that are not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InvalidInput(f"expected a path that ends in .safetensors, got {path.name!r}")
    if not path.parent.is_dir():
        raise InvalidInput(f"expected a folder to write into, found none at {path.parent}")
    if source.state is None:
        raise InvalidInput("expected weights with a state to write, got random ones")
    if compact:
        state = weights_compact.compact(source.state, source.spec)
    else:
        state = {key: np.asarray(value, order="C") for key, value in source.state.items()}
    metadata = {
        "format": COMPACT_FORMAT if compact else FORMAT,
        "spec": source.spec.to_json(),
        "sha256": content_hash(state),
        "untrained": str(source.untrained),
        "notes": json.dumps(dict(source.notes)),
    }
    if compact:
        metadata["compact"] = weights_compact.LAYOUT
    store(path, state, metadata)
    return path


def store(path: Path, state: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """Write tensors and metadata in one step, with a hash of the metadata; DferError for a full disk."""
    metadata[_METADATA_HASH] = _metadata_hash(metadata)
    # Beside the target and then renamed: the source may be mapped from the same path.
    partial = path.with_name(f".{path.stem}.partial.safetensors")
    try:
        save_file(dict(state), partial, metadata)
        partial.replace(path)
    except safetensors.SafetensorError as error:  # what a full disk looks like from there
        raise DferError(f"cannot write weights to {path}: {error}", "is there room on the disk?") from error
    finally:
        partial.unlink(missing_ok=True)


def rewrite_notes(source: str | Path, out: str | Path, notes: Mapping[str, str]) -> Path:
    """Copy a weights file with notes added to its own; the stored tensors stay as they are, compact ones too.

    Raises
    ------
    InvalidInput, WeightsNotFound, CorruptArtifact
        As :func:`write` and :func:`load`.
    """
    loaded, source, out = load(source), Path(source), Path(out)
    if out.suffix != ".safetensors" or not out.parent.is_dir():
        raise InvalidInput(f"expected a path that ends in .safetensors in a folder that exists, got {out}")
    with safetensors.safe_open(source, framework="numpy") as file:
        metadata = dict(file.metadata())
    metadata.pop(_METADATA_HASH, None)
    metadata["notes"] = json.dumps({**loaded.notes, **notes})
    store(out, _mapped(source), metadata)
    return out


def load(path: str | Path) -> Weights:
    """Read and verify a weights file.

    Raises
    ------
    WeightsNotFound
        If there is no such file.
    InvalidInput
        If it is a pickle; the hint names the command that converts it.
    CorruptArtifact
        If it is truncated, tampered with or not a weights file, or lies without the file whose trunk it shares.
    """
    return _load(Path(path), shares=True)


def _load(path: Path, shares: bool) -> Weights:
    if not path.is_file():
        raise WeightsNotFound(f"expected a weights file, found nothing at {path}")
    _refuse_pickle(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # checks header, offsets and length
            metadata = file.metadata() or {}
        state = _mapped(path)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        what, hint = strangers.told(path)
        raise CorruptArtifact(
            f"expected a complete safetensors file, got {path}{what} which does not read: {error}", hint
        ) from error
    if metadata.get("format") not in (FORMAT, COMPACT_FORMAT):
        raise CorruptArtifact(
            f"expected metadata format {FORMAT!r}, got {metadata.get('format')!r} in {path}",
            f"for weights of other projects: dfer-edge models convert {path} OUT.safetensors --model NAME",
        )
    actual = content_hash(state)
    if actual != metadata.get("sha256"):
        raise CorruptArtifact(f"expected content sha256 {metadata.get('sha256')}, got {actual} in {path}")
    stated = metadata.pop(_METADATA_HASH, None)
    if stated is not None and stated != (found := _metadata_hash(metadata)):
        raise CorruptArtifact(
            f"expected metadata sha256 {stated}, got {found} in {path}: its spec or notes were changed"
        )
    spec = ModelSpec.from_json(metadata.get("spec", ""))
    try:
        untrained, notes = int(metadata.get("untrained", "0")), dict(json.loads(metadata.get("notes", "{}")))
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"expected a number and notes in the metadata of {path}: {error}") from error
    compact = weights_compact.LAYOUT if metadata["format"] == COMPACT_FORMAT else ""
    training: Mapping[str, Array] = weights_compact.CompactState(state, spec) if compact else state
    if (trunk := metadata.get("trunk")) is not None:
        if not shares:
            raise CorruptArtifact(f"expected a trunk of its own in {path}, it names another: {trunk}")
        base = weights_trunk.beside(path, trunk, metadata.get("trunk_sha256", ""), lambda file: _load(file, False))
        training, actual = weights_trunk.Joined(state, base.state or {}), weights_trunk.joined_hash(actual, base.sha256)
    name = f"{path.name} ({untrained} of {len(training)} tensors random)" if untrained else path.name
    return Weights(name, actual, spec, training, compact, untrained, notes)


def load_into(module: nn.Module, source: str | Path | Weights) -> Weights:
    """Copy a weights file into a training-form network, e.g. to fine-tune it; returns what was loaded.

    The network takes over the file's spec: crops, size, pooling and names of classes are what the weights were trained
    with, and what :func:`save` writes. Tensors are copied one after the other: a compact file is never in memory in
    float as a whole.

    Raises
    ------
    InvalidInput
        If the file is of another network or has other tensors, shapes, options or a size that the network is not made
        for; the message names the first. The network is then as before.
    WeightsNotFound, CorruptArtifact
        As :func:`load`.
    """
    import torch

    from dfer_edge.models.simplified import spec_of, state_arrays

    loaded = source if isinstance(source, Weights) else load(source)
    spec, before, adapts = spec_of(module), module.state_dict(), getattr(module, "take_options", None)
    if loaded.state is None or loaded.spec.name != spec.name:
        raise InvalidInput(f"expected weights of {spec.name}, got {loaded.name} of {loaded.spec.name}")
    if adapts:
        adapts(loaded.spec)
    try:
        own = _fitting(module, loaded)
        _take_over(module, loaded)
    except InvalidInput:
        if adapts:
            adapts(spec)
            module.load_state_dict(before)
        raise
    for name, target in own.items():
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.array(loaded.state[name])).reshape(target.shape))
    said = {"notes": dict(loaded.notes), "untrained": loaded.untrained}
    setattr(module, _LOADED, {**said, "sha256": content_hash(state_arrays(module))} if any(said.values()) else None)
    return loaded


def _fitting(module: nn.Module, loaded: Weights) -> dict[str, Any]:
    """The tensors of a network, if weights have the same by name and shape."""
    own, state = module.state_dict(), loaded.state or {}
    if odd := sorted(set(own) ^ set(state)):
        raise InvalidInput(
            f"expected the tensors of {loaded.spec.name} in {loaded.name}, {odd[0]} is in one of them only",
            "create_model takes options of the network by name",
        )
    for name, target in own.items():
        shape = state[name].shape
        # The first releases wrote counters, which have no axes, with one.
        if shape != target.shape and not math.prod(shape) == target.numel() == 1:
            raise InvalidInput(f"expected {name} of shape {tuple(target.shape)}, got {shape} in {loaded.name}")
    return own


def _take_over(module: Any, loaded: Weights) -> None:
    """Give a network the spec of weights; InvalidInput if it is made for another."""
    from dfer_edge.models.input_size import fit_spec
    from dfer_edge.models.simplified import spec_of

    own, spec = spec_of(module), loaded.spec
    for what in ("options", "input", "landmarks"):
        if getattr(own, what) != getattr(spec, what):
            raise InvalidInput(
                f"expected {what} {getattr(own, what)} as the network was made with, got {getattr(spec, what)} in "
                f"{loaded.name}",
                "create_model takes options of the network by name",
            )
    fit_spec(module, spec.frames, spec.size)
    module.spec = spec


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


def is_safetensors(path: Path) -> bool:
    """By its start: the length of its header may look like another format's, a brace behind its eight bytes tells."""
    with path.open("rb") as file:
        return file.read(9)[4:] == bytes(4) + b"{"


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(_PICKLE_STARTS) and not is_safetensors(path):
        raise InvalidInput(
            f"expected a safetensors file, got a pickle at {path}, which could run code when opened",
            f"dfer-edge models convert {path} {path.with_suffix('.safetensors').name} --model NAME",
        )


def identity(source: Weights) -> str:
    """Hash of weights and spec: what ranges of activations belong to, whatever the conv form."""
    return hashlib.sha256(f"{source.sha256}|{source.spec.to_json()}".encode()).hexdigest()


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


def ranges_beside(name: str, weights: str | Path) -> Path | None:
    """The ranges file that belongs to weights by its place: ``X.ranges.json`` beside ``X.safetensors``, if there."""
    if weights == "random":
        return None
    file = shipped(name) if weights == "default" else Path(weights)
    path = file.with_suffix(".ranges.json") if file else None
    return path if path and path.is_file() else None


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
