"""The pairs: what differs between their forms, in the networks' own modules, and what stays the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.studies.working_forms.fit import Loss, either_way, entropy
from bench.studies.working_forms.seen import Encode
from dfer_edge.inference import registry
from dfer_edge.inference.parts import EMBEDDING
from dfer_edge.inference.smate import WIDTH
from dfer_edge.inference.vgg import STAGES, Architecture
from dfer_edge.labels import DFEW
from dfer_edge.models.r2plus1d import R2Plus1D
from dfer_edge.models.slowr50 import FEATURES, AttentionHead
from dfer_edge.models.smate import SMaTE
from dfer_edge.models.vgg import AGGate, ResidualGate, Stage, draw
from dfer_edge.recognizer import Recognizer
from dfer_edge.spec import ModelSpec
from dfer_edge.training.objective import Objective
from dfer_edge.training.recipes import Losses
from dfer_edge.weights import file as weights

CLASSES = len(DFEW)
# Of the networks of pair "gate": a quarter of the printed widths.
_NARROW, _HIDDEN = 4, 256
# Of pair "loss": DACL's weight. At the printed 1 the centre loss drowns the labels in so few steps.
_CENTRES = Losses(sparse_centre=0.01, centre_lr=0.5)


@dataclasses.dataclass(frozen=True)
class Pair:
    """One dead part.

    Attributes
    ----------
    paper, part
        Where it is, and what it is in words.
    reads
        Pairs with the same word read the same inputs.
    spec
        Preprocessing of the clips.
    encode
        Clips to what the forms read: a trunk that does not learn, or the pixels.
    forms
        Name -> what makes the network; the first is the printed one, the second ours.
    epochs, rate
        Of the training.
    loss, losses, bf16
        As :func:`bench.studies.working_forms.fit.fit`.
    """

    paper: str
    part: str
    reads: str
    spec: ModelSpec
    encode: Encode
    forms: dict[str, Callable[[], nn.Module]]
    epochs: int
    rate: float
    loss: Loss = entropy
    losses: Losses | None = None
    bf16: bool = True


class _Pooled(nn.Module):
    """A head on the mean of the frames' features [B, T, C], as printed."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(frames.mean(1))
        return logits


class OnFeatures(SMaTE):
    """SMaTE's temporal encoder on a linear map of features [B, T, 2048] in place of its spatial encoder."""

    def __init__(self, mode: str) -> None:
        spec = registry.find("smate").spec.with_labels(tuple(map(str, range(2 * CLASSES))))
        spec = spec.with_options(spatial_depth=1, temporal_depth=1, tpe_mode=mode, tpe_form="v2")
        super().__init__(dataclasses.replace(spec, frames=16, size=16))
        self.embedding = self.spatial = nn.Identity()  # type: ignore[assignment]
        self.read = nn.Linear(FEATURES, WIDTH)

    def tubelet_features(self, clip: torch.Tensor, augmented: torch.Tensor | None = None) -> torch.Tensor:
        features: torch.Tensor = self.read(clip)
        return features


class Narrow(nn.Module):
    """The VGG of paper 002 at a quarter of its widths, with a gate before the poolings of stages 2, 3 and 4."""

    def __init__(self, gate: type[nn.Module] | None, size: int) -> None:
        super().__init__()
        arch = Architecture("ag", 2, CLASSES + 1, keep_pool5=False, features=0)
        layers: list[nn.Module] = []
        channels = 3
        for index, (depth, wide, gated) in enumerate(STAGES):
            layers.append(Stage(channels, wide // _NARROW, depth))
            channels = wide // _NARROW
            if gated and gate is not None:
                layers.append(gate(channels, arch))
            layers += [nn.MaxPool2d(2)] if index < len(STAGES) - 1 else []
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * (size // 16) ** 2, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, CLASSES)
        )
        draw(self, "he")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.layers(images))
        return logits


def attention() -> Pair:
    """000: self-attention over the one pooled vector, or over a token a frame."""
    spec, trunk = _slow()
    forms: dict[str, Callable[[], nn.Module]] = {
        "one token (printed)": lambda: _Pooled(AttentionHead(CLASSES, 4, 0.5)),
        "a token a frame": lambda: AttentionHead(CLASSES, 4, 0.5),
    }
    return Pair(
        "000", "self-attention over one token is an affine map", "frames", spec, trunk, forms, epochs=4, rate=1e-4
    )


def position() -> Pair:
    """001: the position code as printed, or times a learned vector; a table of positions beside them."""
    spec, trunk = _slow()
    forms: dict[str, Callable[[], nn.Module]] = {
        "added (printed)": lambda: OnFeatures("add"),
        "times a vector": lambda: OnFeatures("vector"),
        "learned table": lambda: OnFeatures("learned"),
    }
    return Pair("001", "layer norm erases the position code", "frames", spec, trunk, forms, 6, 3e-4, either_way)


def gate() -> Pair:
    """002: the gate that can only weaken, or the residual one; none beside them."""
    spec = dataclasses.replace(_slow_spec(), frames=1, size=48, mean=(0.45,) * 3, std=(0.225,) * 3)
    forms: dict[str, Callable[[], nn.Module]] = {
        "0.5 to 0.73 (printed)": lambda: Narrow(AGGate, spec.size),
        "0 to 2": lambda: Narrow(ResidualGate, spec.size),
        "no gate": lambda: Narrow(None, spec.size),
    }
    return Pair(
        "002", "the gate can only weaken", "images", spec, lambda clip: clip[:, :, 0], forms, epochs=4, rate=3e-4
    )


def loss() -> Pair:
    """004: the loss branch on the flattened map, or on pooled features; no centre loss beside them."""
    shipped = weights.resolve("r2plus1d_sta", "default").spec
    spec = dataclasses.replace(shipped, frames=8, size=56)
    whole = _tail(spec, "pooled")
    stages: Any = whole.stages
    stages[2][1] = nn.Identity()
    whole.eval()

    forms: dict[str, Callable[[], nn.Module]] = {
        "the map (printed)": lambda: _Last(_tail(spec, "map"), _CENTRES),
        "pooled features": lambda: _Last(_tail(spec, "pooled"), _CENTRES),
        "no centre loss": lambda: _Last(_tail(spec, "pooled"), Losses()),
    }
    part = "98 % of the parameters are the loss's first layer"
    return Pair(
        "004",
        part,
        "maps",
        spec,
        whole.trunk,
        forms,
        3,
        1e-3,  # as printed
        _objective,
        _CENTRES,
        bf16=False,  # its gradients are beyond bf16: norms of channels that are silent in the shipped trunk
    )


PAIRS: dict[str, Callable[[], Pair]] = {"attention": attention, "position": position, "gate": gate, "loss": loss}


def _slow_spec() -> ModelSpec:
    return dataclasses.replace(weights.resolve("slowr50_sa", "default").spec, sampling="uniform")


def _slow() -> tuple[ModelSpec, Encode]:
    """Features [B, T, 2048] of the frames of clips, by the shipped trunk: each frame for itself."""
    spec = _slow_spec()
    engine = Recognizer("slowr50", engine="onnxruntime", precision="fp32", threads=1)._embedder

    def encode(clip: torch.Tensor) -> torch.Tensor:
        rows = [engine.infer({"clip": np.ascontiguousarray(one[None])})[EMBEDDING] for one in clip.numpy()]
        return torch.from_numpy(np.stack(rows)).reshape(len(clip), clip.shape[2], FEATURES)

    return spec, encode


def _tail(spec: ModelSpec, reads: str) -> R2Plus1D:
    """R(2+1)D with the shipped trunk and a fresh rest."""
    state = weights.resolve("r2plus1d_sta", "default").state or {}
    network = R2Plus1D(spec.with_labels(tuple(DFEW)), loss_branch=True, loss_input=reads)
    trunk = {
        key: torch.from_numpy(value.copy()) for key, value in state.items() if key.startswith(("stem.", "stages."))
    }
    network.load_state_dict(network.state_dict() | trunk)
    return network


class _Last(nn.Module):
    """The last block of the trunk, the attention and the classifier learn; what comes before was applied already."""

    def __init__(self, network: R2Plus1D, losses: Losses) -> None:
        super().__init__()
        stages: Any = network.stages
        network.stem, network.stages = nn.Identity(), nn.Sequential(stages[2][1])  # type: ignore[assignment]
        self.network = network
        self.objective = Objective(network, losses)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(features)
        return logits


def _objective(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = network.objective({"clip": inputs, "label": labels})["loss"]  # type: ignore[operator]
    return found
