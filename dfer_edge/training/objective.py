"""The loss of each network on a batch: cross-entropy and what its paper adds, plus auxiliary heads on our renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models import guidance
from dfer_edge.models.keypoint import KeypointTSA
from dfer_edge.models.r2plus1d import R2Plus1D, binary_cross_entropy
from dfer_edge.models.simplified import spec_of
from dfer_edge.models.slowr50 import SlowR50
from dfer_edge.models.smate import SMaTE
from dfer_edge.models.vgg import VGG
from dfer_edge.training.recipes import Losses

Batch = Mapping[str, torch.Tensor]


class AuxiliaryHeads(nn.Module):
    """Linear maps from the features of each frame to action units, landmarks and intensity; training only.

    Parameters
    ----------
    channels
        Of the features.
    outputs
        Target name -> numbers a frame.
    weights
        Target name -> weight of its loss.
    """

    def __init__(self, channels: int, outputs: Mapping[str, int], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(channels, width) for name, width in outputs.items()})
        self.weights = dict(weights)

    def forward(self, features: torch.Tensor, batch: Batch, size: int) -> dict[str, torch.Tensor]:
        """Weighted smooth L1 losses of features [B, T', C]; targets [B, T, n] are averaged where T' < T."""
        losses = {}
        for name, layer in self.layers.items():
            target = batch[name].to(features.dtype)
            # Landmarks in halves of the crop's side from its centre: all targets are of about one scale.
            target = 2 * target.flatten(2) / size - 1 if name == "landmarks" else target.reshape(*target.shape[:2], -1)
            target = F.adaptive_avg_pool1d(target.transpose(1, 2), features.shape[1]).transpose(1, 2)
            losses[name] = self.weights[name] * F.smooth_l1_loss(layer(features), target, beta=0.1)
        return losses


class Objective(nn.Module):
    """A network with its training loss: the module that gradients, DDP and checkpoints are about.

    Parameters
    ----------
    network
        Training form.
    losses
        Of the recipe.
    outputs
        Auxiliary targets that the data have: name -> numbers a frame.
    counts
        Training clips of each class, for class weights.

    Raises
    ------
    InvalidInput
        For a network with a weight of the centre loss of its own: the recipe's would hide it.
    """

    class_weights: torch.Tensor | None

    def __init__(
        self, network: nn.Module, losses: Losses, outputs: Mapping[str, int] | None = None, counts: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.network, self.losses = network, losses
        weights = {name: float(getattr(losses, name)) for name in ("units", "landmarks", "intensity")}
        wanted = {name: width for name, width in (outputs or {}).items() if weights[name] > 0}
        if spec_of(network).landmarks:
            wanted.pop("landmarks", None)  # the network is given them
        self.heads = AuxiliaryHeads(feature_channels(network), wanted, weights) if wanted else None
        balance = torch.from_numpy(guidance.class_weights(counts)).float() if losses.class_weights else None
        self.register_buffer("class_weights", balance, persistent=False)
        if isinstance(network, R2Plus1D) and network.center_weight != 1.0:
            raise InvalidInput(
                f"expected center_weight 1 of a network that a recipe trains, got {network.center_weight}",
                f"the recipe weighs the centre loss: losses.sparse_centre={network.center_weight}",
            )
        if isinstance(network, VGG):
            network.guidance = "template" if losses.guidance == "template" else "none"

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """``loss`` and its parts, scalars, of ``clip`` [B, 3, T, H, W], ``label`` [B] and what else the batch has."""
        clip = batch["clip"]
        encoded = None
        if isinstance(self.network, R2Plus1D) and self.network.centre_reads == "f":
            encoded = self.network.trunk(clip)
            features: torch.Tensor = self.network.attention(encoded)
        else:
            features = self._features(clip, batch)
        logits = self._head(features)
        parts = self._label_losses(features, logits, batch, encoded)
        if self.heads is not None:
            vectors = frame_vectors(self.network, features, clip.shape[2]).float()
            parts |= self.heads(vectors, batch, clip.shape[-1])
        return {"loss": torch.stack(list(parts.values())).sum(), **parts, "right": self._right(logits, batch)}

    @torch.no_grad()
    def _right(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Share of the batch that is right, of augmented clips and with dropout, as training sees them."""
        labels = batch["label"].repeat_interleave(len(logits) // len(batch["label"]))
        return (logits.argmax(1) == labels).float().mean()

    def probabilities(self, batch: Batch) -> torch.Tensor:
        """Probabilities float64 [B, K] of clips: image networks average those of their frames, as inference does."""
        features = self._features(batch["clip"], batch)
        logits = self._head(features).double()
        return logits.view(len(batch["clip"]), -1, logits.shape[1]).softmax(2).mean(1)

    def _head(self, features: torch.Tensor) -> torch.Tensor:
        network = self.network
        if isinstance(network, KeypointTSA) and features.shape[1] != network.spec.frames:
            # Its temporal part reads clips of one length; single images train what comes before.
            return network.forward_auxiliary(features).float()
        logits: torch.Tensor = network.forward_head(features).float()  # type: ignore[operator]
        return logits

    def _features(self, clip: torch.Tensor, batch: Batch) -> torch.Tensor:
        network = self.network
        if isinstance(network, KeypointTSA):
            fused = network.frame_features(_images(clip), batch["landmarks"].flatten(0, 1))
            features: torch.Tensor = fused.view(len(clip), -1, fused.shape[1])
        elif isinstance(network, SMaTE):
            features = network.forward_features(clip, batch.get("augmented"))
        elif isinstance(network, VGG):
            features = network.forward_features(_images(clip), self._hulls(batch) if self.training else None)
        else:
            features = network.forward_features(clip)  # type: ignore[operator]
        return features

    def _hulls(self, batch: Batch) -> torch.Tensor | None:
        if self.losses.guidance != "hull":
            return None
        if "landmarks" not in batch:
            raise InvalidInput("expected landmarks for the guidance mask 'hull'", "set losses.guidance=template")
        size = batch["clip"].shape[-1]
        masks = [guidance.hull_mask(points, size) for points in batch["landmarks"].flatten(0, 1).cpu().numpy()]
        return torch.from_numpy(np.stack(masks)).unsqueeze(1).to(batch["clip"].device)

    def _label_losses(
        self, features: torch.Tensor, logits: torch.Tensor, batch: Batch, encoded: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        network, labels = self.network, batch["label"]
        if isinstance(network, VGG):
            labels = labels.repeat_interleave(batch["clip"].shape[2])
        entropy = self._entropy(logits, labels)
        if isinstance(network, KeypointTSA):
            spatial, temporal = self.losses.auxiliary
            spatial_entropy = self._entropy(network.forward_auxiliary(features).float(), labels)
            return {"label": spatial * spatial_entropy + temporal * entropy}
        if isinstance(network, R2Plus1D) and self.losses.sparse_centre:
            with torch.autocast(features.device.type, enabled=False):
                read = features if encoded is None else encoded
                centre = network.sparse_center_loss(read.float(), labels)
            return {"label": entropy, "centre": self.losses.sparse_centre * centre}
        return {"label": entropy}

    def _entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if isinstance(self.network, R2Plus1D) and self.network.cross_entropy == "binary":
            return binary_cross_entropy(logits, labels)
        return F.cross_entropy(logits, labels, self.class_weights, label_smoothing=self.losses.label_smoothing)


def _images(clip: torch.Tensor) -> torch.Tensor:
    """[B, 3, T, H, W] -> [B * T, 3, H, W]."""
    return clip.transpose(1, 2).flatten(0, 1)


def feature_channels(network: nn.Module) -> int:
    """Channels of :func:`frame_vectors`."""
    widths = {SlowR50: 2048, R2Plus1D: 256, VGG: 512, KeypointTSA: 512, SMaTE: 768}
    return next(width for kind, width in widths.items() if isinstance(network, kind))


def frame_vectors(network: nn.Module, features: torch.Tensor, frames: int) -> torch.Tensor:
    """What a network knows of each frame (or stretch of frames), [B, T', C], from its ``forward_features``."""
    if isinstance(network, KeypointTSA):
        return features
    if isinstance(network, SMaTE):
        return features[:, 1:]
    if isinstance(network, VGG):
        return features.mean((2, 3)).view(-1, frames, features.shape[1])
    return features.mean((3, 4)).transpose(1, 2)
