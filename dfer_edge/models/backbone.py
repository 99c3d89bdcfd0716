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


@dataclasses.dataclass(frozen=True)
class PublicBackbone:
    """What a paper starts from.

    Attributes
    ----------
    name, address
        What it is, and where its publishers keep it; nothing is downloaded.
    spare
        Beginnings of its keys that the network has no use for.
    fresh
        Beginnings of our keys that may stay as they are: classifiers, and what the paper adds.
    """

    name: str
    address: str
    spare: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


PUBLIC = {
    "slowr50": PublicBackbone(
        "pytorchvideo slow_r50 8x8, Kinetics-400",
        "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOW_8x8_R50.pyth",
        ("blocks.5.",),
        ("head.",),
    ),
    "smate": PublicBackbone(
        "Scenic ViViT-B/16x2 FE, Kinetics-400 (Flax)",
        "https://storage.googleapis.com/scenic-bucket/vivit/kinetics_400/vivit_base_16x2_fe/checkpoint",
        ("output_projection/", "pre_logits/", "TemporalTransformer/posembed_input/"),
        # Its four temporal layers are the first of our twelve.
        ("head.", "temporal_positions", "spatial_positions", *(f"temporal.layers.{layer}." for layer in range(4, 12))),
    ),
    "vgg": PublicBackbone(
        "torchvision vgg16, ImageNet (the paper starts from noise)",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        ("classifier.",),
        ("head.",),
    ),
    "keypoint": PublicBackbone(
        "torchvision resnet18, ImageNet",
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        ("fc.",),
        ("regions.",),
    ),
    "r2plus1d": PublicBackbone(
        "torchvision r2plus1d_18, Kinetics-400",
        "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth",
        ("layer4.", "fc."),
    ),
}


def norm_keys(own: str, public: str) -> dict[str, str]:
    """Our keys of a batch norm -> the public ones."""
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{own}.{part}": f"{public}.{part}" for part in parts}


def require_backbone(module: nn.Module, report: BackboneReport) -> None:
    """Refuse the backbone of another network, which may share some names and shapes with the right one.

    Raises
    ------
    InvalidInput
        If the file has tensors that the right one does not have, or lacks some of its.
    """
    entry = registry.find(spec_of(module).name)
    public, keys = PUBLIC[entry.family], entry.training().public_keys()
    own = {public_key: key for key, public_key in keys.items()}
    odd = [
        key
        for key in report.skipped
        if not key.startswith(public.spare) and not own.get(key, "").startswith(public.fresh or ("-",))
    ]
    state, filled = module.state_dict(), set(report.matched)
    lacking = [
        public_key
        for public_key, key in own.items()
        # Old files have no counters of batches.
        if key in state and key not in filled and not key.startswith(public.fresh) and "num_batches" not in key
    ]
    if odd or lacking:
        wrong = [f"it has {', '.join(odd[:3])}"] if odd else []
        wrong += [f"it lacks {', '.join(lacking[:3])}"] if lacking else []
        raise InvalidInput(
            f"expected {public.name} for {entry.spec.name}, got another network's weights: {'; '.join(wrong)}",
            f"it is at {public.address}",
        )


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
