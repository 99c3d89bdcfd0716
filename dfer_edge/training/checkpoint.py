"""Checkpoints: one safetensors file, published whole or not at all; no pickles.

Tensors are the weights, their average and the optimisers' state; the rest (position, best value, history) is JSON in
the metadata. Random numbers need no state of their own: every step seeds its generators by its position.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file

from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput

FORMAT = "dfer_edge/training/1"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What resumes a run.

    Attributes
    ----------
    tensors
        By name.
    state
        JSON: ``identity`` (what the run is), ``progress`` (position, best value, history, skipped clips) and
        ``scaler`` (of the loss, in fp16).
    """

    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file through a scratch file beside it: a killed process or a full disk leaves the old one.

    Raises
    ------
    DferError
        If it cannot be written; the old file stays.
    """
    scratch = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(scratch)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        kept = "the previous one stays" if path.exists() else "there is no previous one"
        raise DferError(
            f"cannot write {path}: {error}; {kept}", "free some space, then run the same command to resume"
        ) from error


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk too.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove scratch files of runs that were killed while writing."""
    for path in folder.glob(".*-*"):
        # weights.write puts a dot of its own before the name.
        owner = path.name.lstrip(".").split("-")[0]
        if owner.isdecimal() and path.is_file():
            path.unlink(missing_ok=True)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Publish a checkpoint; see :func:`publish`."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    metadata = {"format": FORMAT, "state": json.dumps(checkpoint.state)}
    publish(path, lambda scratch: save_file(tensors, scratch, metadata))


def load(path: Path, identity: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint of the run that ``identity`` describes.

    Raises
    ------
    CorruptArtifact
        If the file is no whole checkpoint.
    InvalidInput
        If it is of another model, recipe, data set or seed; the message says which.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        state = json.loads(metadata.get("state", "null"))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CorruptArtifact(f"expected a checkpoint, got {path} which does not read: {error}") from error
    if metadata.get("format") != FORMAT or not isinstance(state, dict):
        raise CorruptArtifact(f"expected a checkpoint of format {FORMAT!r}, got {metadata.get('format')!r} in {path}")
    for key, wanted in identity.items():
        if state["identity"].get(key) != wanted:
            raise InvalidInput(
                f"expected a checkpoint of {key} {_short(wanted)}, got {_short(state['identity'].get(key))} in {path}",
                "give another --out folder, or the options that the run began with",
            )
    return Checkpoint(tensors, state)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def pack_optimiser(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """Tensors of an optimiser's state by name; groups come from the recipe."""
    state = optimiser.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for index, entry in state.items()
        for name, value in entry.items()
        if value is not None
    }


def unpack_optimiser(optimiser: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Inverse of :func:`pack_optimiser`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}."):
            index, name = key.removeprefix(f"{prefix}.").split(".", 1)
            state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
