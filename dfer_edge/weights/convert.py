"""Checkpoints of others, pickled by torch or safetensors, opened without running code, to weights files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.models import create_model
from dfer_edge.models.backbone import BackboneReport, import_backbone, require_backbone
from dfer_edge.weights import file as weights
from dfer_edge.weights.public import read_public


def convert(
    checkpoint: Path, path: Path, name: str, compact: bool = False, like: str | Path | None = None
) -> BackboneReport:
    """Write the weights file of a checkpoint.

    Parameters
    ----------
    checkpoint
        Safetensors or a pickle: a state dict, or a dict with one under any key; of several the one under
        ``state_dict``, ``model_state_dict``, ``model_state``, ``model``, ``net`` or ``module``. Our keys or a public
        layout's.
    path
        Of the ``.safetensors`` file.
    name
        The network.
    compact
        Store large tensors in int8.
    like
        ``"default"`` or a weights file, whose crops, size and class names the checkpoint was trained with; the paper's
        if None.

    Returns
    -------
    What matched. A full state of ours matches everything; tensors that are missing stay random, and every result of
    the file says how many.

    Raises
    ------
    WeightsNotFound, CorruptArtifact, InvalidInput
    """
    loaded = read_public(checkpoint)
    module = _module(name, like)
    own = module.state_dict()
    if set(loaded) == set(own):
        _require_shapes(loaded, own, checkpoint)
        module.load_state_dict(dict(loaded))
        report = BackboneReport(tuple(loaded), {}, ())
    else:
        report = import_backbone(module, loaded)
        require_backbone(module, report)
    weights.save(path, module, untrained=len(report.missing), compact=compact, converted_from=checkpoint.name)
    return report


def _module(name: str, like: str | Path | None) -> nn.Module:
    if like is None:
        return create_model(name)
    module: nn.Module = registry.find(name).training().create(weights.resolve(name, like).spec)
    return module


def _require_shapes(loaded: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], checkpoint: Path) -> None:
    for key, value in loaded.items():
        if value.shape != own[key].shape:
            raise InvalidInput(
                f"expected {key} of shape {tuple(own[key].shape)}, got {tuple(value.shape)} in {checkpoint}",
                "of another size or number of classes? name weights of that kind with like= (--like)",
            )
