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
from dfer_edge.sources import strangers
from dfer_edge.weights.file import is_safetensors

# Where training programs keep the state dict, outermost first; of several, what they run is the first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "module")
_HOW = f"save the state dict alone, or under one of the keys {', '.join(_WRAPPERS)}"
# What wrappers for several GPUs, torch.compile and training programs put in front of every key, in any order.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# Ends of keys of what has to be a finite number; buffers may be masks and counters.
_NUMBERS = ("weight", "bias", "running_mean", "running_var")


def opened_state(checkpoint: Path) -> Mapping[str, torch.Tensor]:
    """The state dict of a pickle or a safetensors file.

    Raises
    ------
    CorruptArtifact, InvalidInput
        If it does not read, or holds something else.
    """
    return _state(_opened(checkpoint), checkpoint)


def _opened(checkpoint: Path) -> Any:
    if checkpoint.suffix == ".safetensors" or is_safetensors(checkpoint):
        try:
            return safetensors.torch.load_file(checkpoint)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            what, hint = strangers.told(checkpoint)
            raise CorruptArtifact(f"expected a safetensors file, got {checkpoint}{what}: {error}", hint) from error
    try:
        # weights_only refuses everything but tensors and plain containers: no code runs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken pickle raises: KeyError, EOFError, UnpicklingError, ...
        # torch's own text begins with advice to run whatever code is in the file.
        found = re.search(r"(?:WeightsUnpickler error: +\S|Unsupported|Trying to load)[^\n]*", str(error))
        text = found[0] if found else "it is no pickle" if "WeightsUnpickler error" in str(error) else str(error)
        reason = " ".join(text.split())[:200] or "no reason given"
        what, hint = strangers.told(checkpoint)
        if not hint or "ZIP" in what:  # as torch's own are
            what, hint = "", "where it was trained: torch.save(model.state_dict(), PATH)"
        raise CorruptArtifact(
            f"expected a checkpoint of tensors only, got {checkpoint}{what}: {type(error).__name__}: {reason}", hint
        ) from error


def _state(loaded: Any, checkpoint: Path) -> Mapping[str, torch.Tensor]:
    """The state dict in what a file holds, without what wrappers put in front of every key."""
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    loaded = _only_state(loaded, checkpoint)
    if not isinstance(loaded, Mapping):
        raise InvalidInput(f"expected a dict of tensors in {checkpoint}, got {type(loaded).__name__}", _HOW)
    if not loaded:
        raise InvalidInput(f"expected a dict of tensors in {checkpoint}, got one with nothing in it", _HOW)
    if others := {str(key): type(value).__name__ for key, value in loaded.items() if not torch.is_tensor(value)}:
        found = ", ".join(f"{key}: {kind}" for key, kind in list(others.items())[:4])
        raise InvalidInput(f"expected tensors alone in the dict of {checkpoint}, it also has {found}", _HOW)
    state = {str(key): value for key, value in loaded.items()}
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    _require_weights(state, checkpoint)
    return state


def _only_state(loaded: Any, checkpoint: Path) -> Any:
    """The one dict of tensors within dicts, whatever it is called; what was given if it is that, or has none."""
    if not isinstance(loaded, Mapping) or any(torch.is_tensor(value) for value in loaded.values()):
        return loaded
    # Optimisers keep tensors in dicts as well.
    dicts = {k: v for k, v in loaded.items() if isinstance(v, Mapping) and "param_groups" not in v}
    inner = {key: _only_state(value, checkpoint) for key, value in dicts.items()}
    found = {key: value for key, value in inner.items() if any(map(torch.is_tensor, value.values()))}
    if len(found) > 1:
        names = ", ".join(map(repr, found))
        hint = f"torch.save(torch.load({checkpoint.name!r})[{next(iter(found))!r}], PATH)"
        raise InvalidInput(f"expected one state dict in {checkpoint}, got {len(found)}: {names}", hint)
    return next(iter(found.values())) if found else loaded


def _require_weights(state: Mapping[str, torch.Tensor], checkpoint: Path) -> None:
    """InvalidInput for tensors that cannot be weights: complex, quantised, not finite."""
    for key, value in state.items():
        if not key.endswith(_NUMBERS):
            continue
        if value.is_quantized or not value.is_floating_point():
            hint = "of a quantised network: convert the one before it was quantised"
            raise InvalidInput(f"expected floating-point tensors in {checkpoint}, {key} is {value.dtype}", hint)
        if not bool(torch.isfinite(value.float()).all()):
            hint = "training diverged: take an earlier checkpoint"
            raise InvalidInput(f"expected finite numbers in {checkpoint}, {key} has others", hint)
