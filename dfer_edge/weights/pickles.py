"""State dicts in pickles of torch and in safetensors of others, opened without running the code in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from dfer_edge.errors import CorruptArtifact, InvalidInput

# Where training programs keep the state dict, outermost first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "module")
# What wrappers for several GPUs and torch.compile put in front of every key.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_HOW = f"save the state dict alone, or under one of the keys {', '.join(_WRAPPERS)}"


def opened_state(checkpoint: Path) -> Mapping[str, torch.Tensor]:
    """The state dict of a pickle or a safetensors file.

    Raises
    ------
    CorruptArtifact, InvalidInput
        If it does not read, or holds something else.
    """
    return _state(_opened(checkpoint), checkpoint)


def _opened(checkpoint: Path) -> Any:
    if checkpoint.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(checkpoint)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise CorruptArtifact(f"expected a safetensors file, got {checkpoint}: {error}") from error
    try:
        # weights_only refuses everything but tensors and plain containers: no code runs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken pickle raises: KeyError, EOFError, UnpicklingError, ...
        # torch's own text begins with advice to run whatever code is in the file.
        found = re.search(r"(?:WeightsUnpickler error|Unsupported|Trying to load)[^\n]*", str(error))
        reason = " ".join((found[0] if found else str(error)).split())[:200] or "no reason given"
        raise CorruptArtifact(
            f"expected a checkpoint of tensors only, got {checkpoint}: {type(error).__name__}: {reason}",
            "where it was trained: torch.save(model.state_dict(), PATH)",
        ) from error


def _state(loaded: Any, checkpoint: Path) -> Mapping[str, torch.Tensor]:
    """The state dict in what a file holds, without the prefix that wrappers give to every key."""
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InvalidInput(f"expected a dict of tensors in {checkpoint}, got {type(loaded).__name__}", _HOW)
    if others := {str(key): type(value).__name__ for key, value in loaded.items() if not torch.is_tensor(value)}:
        found = ", ".join(f"{key}: {kind}" for key, kind in list(others.items())[:4])
        raise InvalidInput(f"expected tensors alone in the dict of {checkpoint}, it also has {found}", _HOW)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in loaded):
            loaded = {key.removeprefix(prefix): value for key, value in loaded.items()}
    state: Mapping[str, torch.Tensor] = loaded
    return state
