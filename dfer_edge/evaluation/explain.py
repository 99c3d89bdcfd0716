"""Looking inside a trained network with torch: pooled features, their map in the plane, and Grad-CAM."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from dfer_edge.errors import InvalidInput
from dfer_edge.flow import preprocess
from dfer_edge.inference import registry
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Clip
from dfer_edge.weights import file as weights

Floats = npt.NDArray[np.float32]

# t-SNE of fewer points shows nothing.
FEWEST = 5


def trained_module(spec: ModelSpec, source: weights.Weights) -> nn.Module:
    """The training form of a weights file, in evaluation mode.

    Raises
    ------
    InvalidInput
        For random weights, which have no training form.
    """
    # With the file's own spec: it may have another size or number of frames than the paper's.
    module: nn.Module = registry.find(spec.name).training().create(spec)
    weights.load_into(module, source)
    return module.eval()


def _inputs(clip: Clip, spec: ModelSpec) -> list[torch.Tensor]:
    return [torch.from_numpy(value) for value in preprocess.to_feed([clip], spec).values()]


def pooled(features: torch.Tensor) -> torch.Tensor:
    """[B, C] of what ``forward_features`` gives: maps [B, C, ...] or tokens [B, N, C]: means over the other axes."""
    if features.ndim == 3:
        return features.mean(1)
    return features.flatten(2).mean(2) if features.ndim > 3 else features


def pooled_features(module: nn.Module, clips: Iterable[Clip], spec: ModelSpec) -> Floats:
    """float32 [N, C]: the pooled features of each of N >= 1 clips, for image networks their mean over frames."""
    forward: Any = module.forward_features
    with torch.inference_mode():
        rows = [pooled(forward(*_inputs(clip, spec))).mean(0) for clip in clips]
    return np.asarray(torch.stack(rows).numpy(), np.float32)


def embedding(features: Floats, seed: int = 0) -> tuple[str, Floats]:
    """Name of the method and points [N, 2]: UMAP where it is installed, else t-SNE of scikit-learn.

    Raises
    ------
    InvalidInput
        For fewer than five samples, or if neither is installed.
    """
    if len(features) < FEWEST:
        raise InvalidInput(f"expected at least {FEWEST} samples for a map of features, got {len(features)}")
    if importlib.util.find_spec("umap"):
        from umap import UMAP

        neighbours = min(15, len(features) - 1)
        return "UMAP", np.asarray(UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(features), np.float32)
    if not importlib.util.find_spec("sklearn"):
        hint = 'pip install "dfer-edge[evaluate]"'
        raise InvalidInput("expected scikit-learn or umap-learn for a map of features, neither is installed", hint)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return f"t-SNE, perplexity {perplexity:.0f}", np.asarray(points, np.float32)


def grad_cam(module: nn.Module, clip: Clip, spec: ModelSpec, target: int) -> Floats:
    """Where a convolutional network looks for a class: float32 [T, S, S] in 0..1 over the crops of ``clip``.

    Grad-CAM (Selvaraju et al., ICCV 2017) on the last feature map: its channels, weighted by the mean gradient of the
    class's logit, positive part, resized to the crop; 1 is the largest value of the clip.

    Raises
    ------
    InvalidInput
        For networks whose features are tokens, not maps, and for classes that do not exist.
    """
    if not 0 <= target < spec.num_classes:
        raise InvalidInput(f"expected a class index below {spec.num_classes}, got {target}")
    forward_features: Any = module.forward_features
    forward_head: Any = module.forward_head
    with torch.no_grad():
        features = forward_features(*_inputs(clip, spec))
    if features.ndim < 4:
        raise InvalidInput(f"expected a network with a feature map for Grad-CAM, {spec.name} has tokens")
    features = features.detach().requires_grad_()
    forward_head(features)[:, target].sum().backward()
    places = tuple(range(2, features.ndim))
    assert features.grad is not None  # noqa: S101 - a leaf after backward
    maps = torch.relu((features.grad.mean(places, keepdim=True) * features.detach()).sum(1))
    maps = maps.reshape(-1, 1, *maps.shape[-2:])  # [B*T or T, 1, h, w]
    grown = functional.interpolate(maps, size=(spec.size, spec.size), mode="bilinear", align_corners=False)[:, 0]
    if len(grown) != len(clip.frames):
        # The network strides in time: every frame gets the map of its stretch.
        grown = grown[(torch.arange(len(clip.frames)) * len(grown)) // len(clip.frames)]
    return np.asarray((grown / grown.max().clamp(min=1e-12)).numpy(), np.float32)


def overlaid(frame: npt.NDArray[np.uint8], heat: Floats) -> npt.NDArray[np.uint8]:
    """A crop [S, S, 3] in grey with the heat [S, S], 0..1, over it in red."""
    grey = frame.astype(np.float32).mean(2, keepdims=True)
    share = 0.6 * heat[..., None]
    return np.asarray(grey * (1 - share) + np.array([255.0, 60.0, 0.0]) * share, np.uint8)
