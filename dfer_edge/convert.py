"""Pickled checkpoints of torch, opened without running code, to weights files."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from dfer_edge import weights
from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.models import create_model
from dfer_edge.models.backbone import BackboneReport, import_backbone


def convert(checkpoint: Path, path: Path, name: str, compact: bool = False) -> BackboneReport:
    """Write the weights file of a checkpoint.

    Parameters
    ----------
    checkpoint
        A state dict, or a dict with one under ``state_dict`` or ``model``; our keys or a public layout's.
    path
        Of the ``.safetensors`` file.
    name
        The network.
    compact
        Store large tensors in int8.

    Returns
    -------
    What matched. A full state of ours matches everything; tensors that are missing stay random, and every result of
    the file says how many.

    Raises
    ------
    WeightsNotFound, CorruptArtifact, InvalidInput
    """
    if not checkpoint.is_file():
        raise WeightsNotFound(f"expected a checkpoint, found nothing at {checkpoint}")
    try:
        # weights_only refuses everything but tensors and plain containers: no code runs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken pickle raises: KeyError, EOFError, UnpicklingError, ...
        raise CorruptArtifact(
            f"expected a checkpoint of tensors only, got {checkpoint}: {type(error).__name__}"
        ) from error
    for key in ("state_dict", "model_state", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise InvalidInput(f"expected a dict of tensors in {checkpoint}, got {type(loaded).__name__}")
    module = create_model(name)
    if set(loaded) == set(module.state_dict()):
        module.load_state_dict(loaded)
        report = BackboneReport(tuple(loaded), {}, ())
    else:
        report = import_backbone(module, loaded)
    weights.save(path, module, untrained=len(report.missing), compact=compact, converted_from=checkpoint.name)
    return report
