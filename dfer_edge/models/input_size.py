"""Networks on other numbers of frames, or another size, than they were made for."""

from __future__ import annotations

import dataclasses

from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models.keypoint import KeypointTSA
from dfer_edge.models.r2plus1d import R2Plus1D
from dfer_edge.models.simplified import spec_of
from dfer_edge.models.slowr50 import SlowR50
from dfer_edge.spec import ModelSpec


def fit_spec(network: nn.Module, frames: int, size: int) -> ModelSpec:
    """The spec of a network with other frames or another size; tells the network where it needs to know.

    Raises
    ------
    InvalidInput
        For a network that is made for one number of frames, or one size.
    """
    spec = spec_of(network)
    if frames != spec.frames and not isinstance(network, KeypointTSA):
        _require_free_frames(network, frames)
    if size != spec.size:
        _require_free_size(network, size)
    if isinstance(network, KeypointTSA):
        network.pooling.size = size
    return dataclasses.replace(spec, frames=frames, size=size)


def _require_free_size(network: nn.Module, size: int) -> None:
    if not isinstance(network, (SlowR50, KeypointTSA)) and not _is_pooled(network):
        spec = spec_of(network)
        raise InvalidInput(f"expected size {spec.size}, {spec.name} is made for it; got {size}", "set stages.size=0")


def _require_free_frames(network: nn.Module, frames: int) -> None:
    spec = spec_of(network)
    if not isinstance(network, SlowR50) and not _is_pooled(network) and spec.input != "image":
        raise InvalidInput(
            f"expected clips of {spec.frames} frames, {spec.name} is made for them; got {frames}", "set stages.frames=0"
        )


def _is_pooled(network: nn.Module) -> bool:
    return isinstance(network, R2Plus1D) and network.pooled and network.loss_branch is None
