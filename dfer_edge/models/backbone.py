"""Public backbones: their state-dict keys mapped onto ours, with a report of what matched."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.models.simplified import spec_of


@dataclasses.dataclass(frozen=True)
class BackboneReport:
    """What an import did.

    Attributes
    ----------
    matched
        Our keys that were filled.
    skipped
        Public key -> why it was not used.
    missing
        Our keys that stay as they were, because the public state has nothing (of that shape) for them.
    """

    matched: tuple[str, ...]
    skipped: Mapping[str, str]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.matched)} tensors matched, {len(self.skipped)} skipped, {len(self.missing)} missing"


def import_backbone(module: nn.Module, state_dict: Mapping[str, torch.Tensor]) -> BackboneReport:
    """Copy every tensor that a public layout and ``module`` share.

    Understands pytorchvideo ``slow_r50``, torchvision ``r2plus1d_18``, ``vgg16`` and ``resnet18``, and Scenic's
    factorised ViViT-B/16x2 (numpy arrays by path), each for the network built on it. A tensor of another shape, such
    as the classifier of another class count, is skipped with its shape as the reason.

    Raises
    ------
    InvalidInput
        If nothing matches: this is another layout.
    """
    family = registry.find(spec_of(module).name).training()
    public_keys: dict[str, str] = family.public_keys()
    if hasattr(family, "from_public"):
        # Another framework's arrays: same numbers in another order of axes.
        state_dict = family.from_public(state_dict)
    own_state = module.state_dict()
    matched: list[str] = []
    known = set(public_keys.values())
    skipped = {key: "the network has no such tensor" for key in state_dict if key not in known}
    for own, public in public_keys.items():
        if public not in state_dict or own not in own_state:
            continue
        value, target = state_dict[public], own_state[own]
        if value.shape != target.shape:
            skipped[public] = f"expected shape {tuple(target.shape)}, got {tuple(value.shape)}"
            continue
        target.copy_(value)
        matched.append(own)
    if not matched:
        keys = list(state_dict)[:3]
        raise InvalidInput(f"expected keys such as {next(iter(public_keys.values()))!r}, got {keys}: nothing matched")
    filled = set(matched)
    return BackboneReport(tuple(matched), skipped, tuple(key for key in own_state if key not in filled))
